"""This package prepares calls: functions, identities of arguments, executors, and the retry handler."""
