"""Machines that you reach by ssh: a block for each of them, also where a firewall lets port 22 in only.

Write their names as `ssh` takes them, also those of `~/.ssh/config` with a jump host (`ProxyJump`). ssh may ask for
nothing: load your key with `ssh-add`. Each machine needs the notebook's versions of Python and parslab.
"""

from parslab import Config, HighThroughputExecutor, SSHProvider

config = Config(
    executors=[
        HighThroughputExecutor(
            label="ssh",
            cores_per_worker=1,  # 4: a quarter as many workers on a machine, each for tasks that use 4 threads
            # python="/opt/python/bin/python3",  # of the machines, if worker_init activates none
            # shared_filesystem=True,  # if all see this host's files at the same paths
            provider=SSHProvider(
                hosts=["node1.example.org", "me@node2.example.org"],
                # ssh_options=["-p", "2222"],  # what is not in ~/.ssh/config
                # tunnel="always",  # opens no port here: all that managers say goes through ssh
                init_blocks=0,  # machines to use before there is any task
                worker_init="source ~/venv/bin/activate",  # what comes before the manager
            ),
        )
    ],
    retries=1,  # a task that a lost machine took with it is tried once more
    max_idletime=300,  # seconds that an idle machine is kept: long enough to write the next cell
)
