"""Memoized calls: which call equals which, and what their results are [core]."""
