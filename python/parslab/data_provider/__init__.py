"""Apps read and write files, which this package names by path or URL."""
