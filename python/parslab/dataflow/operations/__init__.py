"""Carries out requests about the task graph [core]: cancel, retry, explain and check."""
