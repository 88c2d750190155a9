"""Run the tasks of a manager on an executor that others keep, such as a process pool, loky or Dask."""
