"""The only room where bytes between processes get a meaning: messages, framing, sockets, keys."""
