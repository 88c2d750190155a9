"""A cluster with Grid Engine (SGE, Univa, Altair): blocks of one slot or node each, as the work asks for them.

Load it on a submit host. `qconf -sql` lists queues, `qconf -spl` parallel environments.
"""

from parslab import Config, GridEngineProvider, HighThroughputExecutor, SingleNodeLauncher

config = Config(
    executors=[
        HighThroughputExecutor(
            label="gridengine",
            max_workers_per_node=1,  # as many as the slots that a job asks for, below
            provider=GridEngineProvider(
                # queue="all.q",
                walltime="01:00:00",  # h_rt: after this a block is killed; tasks it runs are retried elsewhere
                nodes_per_block=1,
                init_blocks=0,  # jobs to submit before there is any task
                min_blocks=0,  # jobs to keep while there is no task
                max_blocks=10,  # never more jobs than these
                # scheduler_options="#$ -pe smp 8",  # 8 slots of a node; then max_workers_per_node=8
                # worker_init="source ~/venv/bin/activate",
                launcher=SingleNodeLauncher(),
            ),
        )
    ],
    retries=1,  # a task that a lost node took with it is tried once more
    max_idletime=300,  # seconds that an idle block is kept: long enough to write the next cell
)
