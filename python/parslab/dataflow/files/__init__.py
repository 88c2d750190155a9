"""Where the contents of files are, and how they come to the nodes that need them."""
