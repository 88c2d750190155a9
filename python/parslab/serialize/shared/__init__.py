"""Put the buffers of packed values into shared memory, and find them again there (D58)."""
