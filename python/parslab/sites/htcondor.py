"""An HTCondor pool whose machines share a file system with this one: many small blocks.

Load it where `condor_submit` works. `condor_status` lists what the pool has.
"""

from parslab import CondorProvider, Config, HighThroughputExecutor, SingleNodeLauncher

config = Config(
    executors=[
        HighThroughputExecutor(
            label="htcondor",
            max_workers_per_node=4,  # as many as cores_per_slot
            provider=CondorProvider(
                cores_per_slot=4,
                # mem_per_slot=8,  # GB
                walltime="01:00:00",  # after this a block ends; tasks it runs are retried elsewhere
                init_blocks=0,  # jobs to submit before there is any task
                min_blocks=0,  # jobs to keep while there is no task
                max_blocks=10,  # never more jobs than these
                # requirements='(OpSysMajorVer == 12)',
                # scheduler_options="accounting_group = my.group",
                # worker_init="source ~/venv/bin/activate",
                launcher=SingleNodeLauncher(),
            ),
        )
    ],
    retries=1,  # jobs of a pool are often evicted
    max_idletime=300,  # seconds that an idle block is kept: long enough to write the next cell
)
