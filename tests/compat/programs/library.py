"""The style of libraries that build on Parsl: pool executor, log handlers, checkpoints, the loader, serialization."""

import io
import logging
import os

import parsl
from parsl.concurrent import ParslPoolExecutor
from parsl.config import Config
from parsl.dataflow.dependency_resolvers import DEEP_DEPENDENCY_RESOLVER
from parsl.dataflow.dflow import DataFlowKernelLoader
from parsl.dataflow.memoization import BasicMemoizer, id_for_memo
from parsl.errors import ConfigurationError, NoDataFlowKernelError, ParslError
from parsl.executors import ThreadPoolExecutor
from parsl.serialize import deserialize, serialize
from parsl.utils import execute_wait, get_all_checkpoints, get_last_checkpoint


class Point:
    def __init__(self, x):
        self.x = x


@id_for_memo.register(Point)
def id_of_point(point, output_ref=False):
    return id_for_memo(point.x)


@parsl.python_app(cache=True)
def slow(point):
    with open("calls.txt", "a") as file:
        file.write("x")
    return point.x + 1


@parsl.python_app
def total(numbers):
    return sum(numbers)


def square(x):
    return x * x


def config():
    return Config(
        executors=[ThreadPoolExecutor(max_threads=2)],
        dependency_resolver=DEEP_DEPENDENCY_RESOLVER,
        memoizer=BasicMemoizer(checkpoint_mode="task_exit"),
        initialize_logging=False,
        usage_tracking=0,
    )


try:
    parsl.dfk()
except NoDataFlowKernelError as error:
    assert isinstance(error, ParslError)
else:
    raise AssertionError("a run is loaded")

stream = io.StringIO()
remove = parsl.set_stream_logger(name="parsl.test", level=logging.INFO, stream=stream)
logging.getLogger("parsl.test").info("told")
remove()
logging.getLogger("parsl.test").info("not told")
assert "told" in stream.getvalue() and "not told" not in stream.getvalue()

kernel = parsl.load(config())
assert DataFlowKernelLoader.dfk() is kernel
assert kernel.config.checkpoint_mode == "task_exit"
assert os.path.isdir(kernel.run_dir)
assert total([slow(Point(n)) for n in range(3)]).result() == 6  # futures at any depth
assert slow(Point(1)).result() == 2
kernel.cleanup()
parsl.clear()
assert len(get_all_checkpoints()) == len(get_last_checkpoint()) == 1

again = parsl.load(config())
assert slow(Point(2)).result() == 3
with open("calls.txt") as file:
    assert len(file.read()) == 3
again.cleanup()
parsl.clear()

with ParslPoolExecutor(config=Config(executors=[ThreadPoolExecutor(max_threads=2)])) as pool:
    assert list(pool.map(square, range(4))) == [0, 1, 4, 9]
    assert pool.submit(square, pool.submit(square, 2)).result() == 16
    assert pool.app_count == 1
parsl.clear()

assert execute_wait("echo a; exit 3") == (3, "a\n", "")
assert deserialize(serialize({"a": [1, 2]})) == {"a": [1, 2]}
try:
    Config(executors=[ThreadPoolExecutor(label="a"), ThreadPoolExecutor(label="a")])
except ConfigurationError:
    print("done")
