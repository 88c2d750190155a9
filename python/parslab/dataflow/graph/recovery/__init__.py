"""Runs tasks again whose temporary files were lost."""
