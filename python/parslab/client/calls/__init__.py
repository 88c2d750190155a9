"""What a call sends: its function, its arguments' identity, its retry handler."""
