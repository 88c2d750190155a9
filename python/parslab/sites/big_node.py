"""One big node that is yours already, with many cores or GPUs: workers pinned to cores.

For a workstation or a server, or for a notebook that runs inside a job on a compute node.
"""

from parslab import Config, HighThroughputExecutor, LocalProvider

config = Config(
    executors=[
        HighThroughputExecutor(
            label="node",
            cores_per_worker=1,  # 4: a quarter as many workers, each for tasks that use 4 threads
            cpu_affinity="block",  # each worker keeps to its own, neighbouring cores
            # mem_per_worker=8,          # GB: no more workers than the node's memory is good for
            # available_accelerators=4,  # one worker for each of 4 GPUs, which sees only its own
            provider=LocalProvider(init_blocks=1, max_blocks=1),  # one block: this node
        )
    ]
)
