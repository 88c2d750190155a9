"""Amazon EC2: blocks of instances that come when tasks wait, go when they are idle, and end by themselves.

Load it on an instance of the same network, which the others reach, after `pip install 'parslab[aws]'` and a login.
Name a machine image (AMI) that has the versions of Python and parslab that the notebook has.
"""

from parslab import AWSProvider, Config, HighThroughputExecutor

config = Config(
    executors=[
        HighThroughputExecutor(
            label="aws",
            cores_per_worker=1,  # 4: a quarter as many workers on an instance, each for tasks that use 4 threads
            provider=AWSProvider(
                image_id="ami-0123456789abcdef0",  # yours
                instance_type="c7i.large",
                spot=True,  # cheaper, and taken back now and then; tasks are then retried elsewhere
                # region="eu-central-1",  # without it that of your AWS configuration
                # subnet_id="subnet-0123456789abcdef0",
                # security_group_ids=["sg-0123456789abcdef0"],
                walltime="01:00:00",  # the lease: no instance lives longer, whatever becomes of the run
                init_blocks=0,  # instances to start before there is any task
                min_blocks=0,  # instances to keep while there is no task
                max_blocks=4,  # never more instances than these
                # worker_init="python3 -m pip install parslab numpy",
            ),
        )
    ],
    retries=2,  # a task that a lost instance took with it is tried again
    max_idletime=300,  # seconds that an idle instance is kept
)
