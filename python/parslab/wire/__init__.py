"""Everything that processes exchange: messages, framing, sockets and keys. No other package parses bytes of a peer."""
