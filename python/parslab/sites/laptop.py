"""A laptop or a small server: one worker for each core, joined straight to the DataFlowKernel.

This is what `parslab.load()` takes when a site says nothing else. A task starts in well under a millisecond.
"""

from parslab import Config, LowLatencyExecutor

config = Config(
    executors=[
        LowLatencyExecutor(
            # workers=4,                 # fewer workers than cores, to leave some for the browser
            # environment={"OMP_NUM_THREADS": "1"},
        )
    ],
    retries=0,  # how often a failed task is tried again
)
