"""What ends dead runs: their jobs, sockets and files."""
