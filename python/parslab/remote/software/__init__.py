"""The software that tasks ask for: Python environments, made on a node when a task needs them, and kept in a cache."""
