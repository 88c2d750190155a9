"""This package runs tasks in the user's process: bodies of join apps and of thread-pool apps."""
