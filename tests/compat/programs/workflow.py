"""The style of Parsl's user guide: HighThroughputExecutor, retries, joins, errors, memoization, labels."""

import parsl
from parsl import Config, File, bash_app, join_app, python_app
from parsl.app.errors import AppTimeout, BashExitFailure, MissingOutputs
from parsl.dataflow.errors import DependencyError, JoinError
from parsl.dataflow.futures import AppFuture
from parsl.executors import HighThroughputExecutor
from parsl.executors.threads import ThreadPoolExecutor
from parsl.launchers import SingleNodeLauncher
from parsl.providers import LocalProvider


def main():
    config = Config(
        executors=[
            HighThroughputExecutor(
                label="htex",
                cores_per_worker=1,
                max_workers_per_node=2,
                provider=LocalProvider(init_blocks=1, min_blocks=0, max_blocks=1, launcher=SingleNodeLauncher()),
            ),
            ThreadPoolExecutor(label="here", max_threads=2),
        ],
        retries=1,
        strategy="simple",
    )
    with parsl.load(config):
        run()
    print("done")


@python_app(executors=["htex"])
def pi(num_points):
    from random import random

    return sum(random() ** 2 + random() ** 2 < 1 for _ in range(num_points))


@python_app(executors=["here"])
def mean(a, b, c):
    return (a + b + c) / 3


@python_app(executors=["htex"])
def fails():
    raise ValueError("bad value")


@python_app(executors=["htex"])
def after(x, inputs=()):
    return x


@bash_app(executors=["htex"])
def leaves(status):
    return f"exit {status}"


@bash_app(executors=["htex"])
def makes_nothing(outputs=()):
    return "true"


@python_app(executors=["htex"])
def fib_add(*numbers):
    return sum(numbers)


@join_app
def fibonacci(n):
    if n < 2:
        return fib_add(n)
    return fib_add(fibonacci(n - 1), fibonacci(n - 2))


@join_app
def joins_a_failure():
    return [fails(), fib_add(1)]


@python_app(cache=True, executors=["htex"])
def when(key):
    import time

    return time.time_ns()


@python_app(executors=["htex"])
def sleeps(seconds, walltime=0.5):
    import time

    time.sleep(seconds)


def failure_of(future):
    return future.exception()


def run():
    a, b, c = pi(10_000), pi(10_000), pi(10_000)
    assert isinstance(a, AppFuture)
    assert abs(4 * mean(a, b, c).result() / 10_000 - 3.14) < 0.2
    assert [a.tid, b.tid, c.tid] == [0, 1, 2]

    failed = fails()
    error = failure_of(after(after(failed)))
    assert isinstance(error, DependencyError), error
    assert isinstance(failure_of(failed), ValueError) and str(failure_of(failed)) == "bad value"
    assert isinstance(failure_of(after(1, inputs=[failed])), DependencyError)

    left = failure_of(leaves(3))
    assert isinstance(left, BashExitFailure) and left.exitcode == 3 and left.app_name == "leaves"
    assert isinstance(failure_of(makes_nothing(outputs=[File("absent.txt")])), MissingOutputs)

    assert fibonacci(6).result() == 8
    assert isinstance(failure_of(joins_a_failure()), JoinError)

    assert when("a").result() == when("a").result() != when("b").result()
    assert isinstance(failure_of(sleeps(600)), AppTimeout)


if __name__ == "__main__":
    main()
