"""Tasks that run in the user's process: joins and the thread pool."""
