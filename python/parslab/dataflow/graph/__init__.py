"""The task graph of a run: pure, without sockets, files, threads or a clock."""
