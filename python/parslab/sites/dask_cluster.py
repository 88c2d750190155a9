"""A Dask cluster that your site already operates, or one that the run starts on this host.

Its workers need the notebook's versions of Python and parslab. On this host it needs `pip install 'parslab[dask]'`.
"""

from parslab import Config, DaskExecutor

config = Config(
    executors=[
        DaskExecutor(
            label="dask",
            # address="tcp://scheduler.example.org:8786",  # of the scheduler; without it a cluster starts on this host
            # workers=64,  # tasks at a time, for a cluster that adapts to its load
        )
    ],
    retries=1,  # a task that Dask gives up, because its workers died, is tried once more
)
