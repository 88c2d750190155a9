"""Kubernetes: blocks of pods that come when tasks wait, and go when they are idle; from outside or in a pod.

It takes the cluster of your `kubectl`, after `pip install 'parslab[kubernetes]'`. The image needs bash, and the
versions of Python and parslab that the notebook has. `parslab kube template kubernetes` prints what it creates.
"""

from parslab import Config, HighThroughputExecutor, KubernetesProvider

config = Config(
    executors=[
        HighThroughputExecutor(
            label="kubernetes",
            cores_per_worker=1,  # 4: a quarter as many workers in a pod, each for tasks that use 4 threads
            provider=KubernetesProvider(
                image="ghcr.io/me/science:1",  # yours
                namespace="default",
                # context="production",  # of your kubeconfig; without it the current one
                # route="relay",  # where pods cannot reach this host; without it both ways are tried
                init_cpu=1,  # cores that a node must have free
                max_cpu=2,  # cores that a pod may use
                init_mem="1Gi",
                max_mem="2Gi",
                # extra_limits={"nvidia.com/gpu": "1"},
                # secret="registry-login",  # for an image that is not public
                # persistent_volumes=[("my-claim", "/data")],
                # worker_init="python3 -m pip install --user parslab numpy",
                init_blocks=0,  # pods to start before there is any task
                min_blocks=0,  # pods to keep while there is no task
                max_blocks=4,  # never more pods than these
            ),
        )
    ],
    retries=2,  # a task that a lost pod took with it is tried again
    max_idletime=120,  # seconds that an idle pod is kept
)
