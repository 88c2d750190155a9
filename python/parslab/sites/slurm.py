"""A cluster with Slurm: blocks of whole nodes that come when tasks wait and go when they are idle.

Load it on a login node, or wherever `sbatch` works and the compute nodes can open connections to. Most sites
need `account` and `partition`: `sinfo` lists partitions, and `sacctmgr show associations user=$USER` lists accounts.
"""

from parslab import Config, HighThroughputExecutor, SlurmProvider, SrunLauncher

config = Config(
    executors=[
        HighThroughputExecutor(
            label="slurm",
            cores_per_worker=1,  # 4: a quarter as many workers on a node, each for tasks that use 4 threads
            # available_accelerators=4,  # GPUs of a node: one worker for each (ask for them below as well)
            # address="ib0",             # the interface that compute nodes reach; without it all are tried
            provider=SlurmProvider(
                # account="my-project",
                # partition="batch",
                walltime="01:00:00",  # after this a block is killed; tasks it runs are retried elsewhere
                nodes_per_block=1,  # nodes of each job
                init_blocks=0,  # jobs to submit before there is any task
                min_blocks=0,  # jobs to keep while there is no task
                max_blocks=4,  # never more jobs than these
                exclusive=True,  # whole nodes; with False say cores_per_node and mem_per_node
                # scheduler_options="#SBATCH --constraint=skylake",
                # worker_init="module load python; source ~/venv/bin/activate",
                launcher=SrunLauncher(),  # starts a manager on each node of a block
            ),
        )
    ],
    retries=1,  # a task that a lost node took with it is tried once more
    max_idletime=300,  # seconds that an idle block is kept: long enough to write the next cell
)
