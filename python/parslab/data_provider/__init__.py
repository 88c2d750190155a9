"""Files that apps read and write, named by path or URL."""
