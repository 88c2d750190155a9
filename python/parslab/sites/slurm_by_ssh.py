"""A cluster with Slurm that this laptop reaches by ssh: jobs, files and results go through your login host.

Your own `ssh` logs in, with its keys, jump hosts and configuration; `ssh -o BatchMode=yes me@login.example.org true`
tries that. The nodes need the versions of Python and parslab that the notebook has, and share no disk with it.
"""

from parslab import SSH, Config, HighThroughputExecutor, SlurmProvider, SrunLauncher

config = Config(
    executors=[
        HighThroughputExecutor(
            label="slurm",
            cores_per_worker=1,  # 4: a quarter as many workers on a node, each for tasks that use 4 threads
            # python="/opt/python/bin/python3",  # of the nodes; without it what worker_init puts on the PATH
            provider=SlurmProvider(
                channel=SSH(
                    "me@login.example.org",  # yours
                    # init="module load slurm",  # where sbatch is not on the PATH of a login
                    # folder="~/scratch/parslab",  # for scripts and outputs; all nodes must see it
                    # route="relay",  # where nodes cannot reach this host anyway
                ),
                # account="my-project",
                # partition="batch",
                walltime="01:00:00",  # after this a block is killed; tasks it runs are retried elsewhere
                nodes_per_block=1,  # nodes of each job
                init_blocks=0,  # jobs to submit before there is any task
                min_blocks=0,  # jobs to keep while there is no task
                max_blocks=4,  # never more jobs than these
                exclusive=True,  # whole nodes; with False say cores_per_node and mem_per_node
                # worker_init="module load python; source ~/venv/bin/activate",
                launcher=SrunLauncher(),  # starts a manager on each node of a block
            ),
        )
    ],
    retries=1,  # a task that a lost node took with it is tried once more
    max_idletime=300,  # seconds that an idle block is kept: long enough to write the next cell
)
