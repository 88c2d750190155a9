"""Google Cloud: blocks of instances that come when tasks wait, go when they are idle, and end by themselves.

Load it on an instance of the same network, which the others reach, after `pip install 'parslab[google]'` and a login
(`gcloud auth application-default login`). The image needs the versions of Python and parslab that the notebook has.
"""

from parslab import Config, GoogleCloudProvider, HighThroughputExecutor

config = Config(
    executors=[
        HighThroughputExecutor(
            label="google",
            cores_per_worker=1,  # 4: a quarter as many workers on an instance, each for tasks that use 4 threads
            provider=GoogleCloudProvider(
                # project_id="my-project",  # without it that of your login
                region="us-central1",  # an instance is made in its first zone that has room
                instance_type="c3-standard-4",
                spot=True,  # cheaper, and taken back now and then; tasks are then retried elsewhere
                # image="my-image",  # without it os_project and os_family count
                # subnetwork="my-subnetwork",
                # external_ip=False,  # where the network has a way out of its own
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
