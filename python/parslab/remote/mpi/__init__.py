"""A pool that is one MPI job: rank 0 is the manager, every other rank has a worker [HPDC19 §4.3.2]."""
