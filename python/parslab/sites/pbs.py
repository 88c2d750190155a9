"""A cluster with PBS Pro or OpenPBS: blocks of whole nodes that come when tasks wait and go when they are idle.

Load it where `qsub` works and the compute nodes can open connections to. `qstat -Q` lists queues. For Torque take
`TorqueProvider` instead, which has nearly the same options.
"""

from parslab import Config, HighThroughputExecutor, MpiExecLauncher, PBSProProvider

config = Config(
    executors=[
        HighThroughputExecutor(
            label="pbs",
            cores_per_worker=1,  # 4: a quarter as many workers on a node, each for tasks that use 4 threads
            # available_accelerators=4,  # GPUs of a node: one worker for each (ask for them in select_options)
            # address="hsn0",            # the interface that compute nodes reach; without it all are tried
            provider=PBSProProvider(
                # account="my-project",
                # queue="workq",
                walltime="01:00:00",  # after this a block is killed; tasks it runs are retried elsewhere
                cpus_per_node=32,  # ncpus of the select line
                # select_options="ngpus=4",
                nodes_per_block=1,  # nodes of each job
                init_blocks=0,  # jobs to submit before there is any task
                min_blocks=0,  # jobs to keep while there is no task
                max_blocks=4,  # never more jobs than these
                # scheduler_options="#PBS -l filesystems=home",
                # worker_init="module load python; source ~/venv/bin/activate",
                launcher=MpiExecLauncher(),  # starts a manager on each node of a block
            ),
        )
    ],
    retries=1,  # a task that a lost node took with it is tried once more
    max_idletime=300,  # seconds that an idle block is kept: long enough to write the next cell
)
