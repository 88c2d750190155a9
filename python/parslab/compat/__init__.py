"""Maps Parsl's module paths and names to those of parslab, for programs that were written for Parsl."""
