"""Content that moves between hosts without a shared disk: the cache of a node, and transfers in chunks."""
