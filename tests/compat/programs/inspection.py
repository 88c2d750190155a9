"""The style of programs that look into a run: task records, counts by state, executors, roots of failures."""

import os
import time

import parsl
from parsl import Config, python_app
from parsl.dataflow.errors import DependencyError
from parsl.dataflow.states import FINAL_STATES, States
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.executors.errors import BadStateException, ExecutorError
from parsl.providers import LocalProvider

config = Config(
    executors=[
        HighThroughputExecutor(label="htex", max_workers_per_node=1, provider=LocalProvider(init_blocks=1)),
        HighThroughputExecutor(
            label="broken", provider=LocalProvider(worker_init="exit 7", init_blocks=0), block_error_handler=True
        ),
        ThreadPoolExecutor(label="threads"),
    ],
    garbage_collect=False,
)


@python_app(executors=["htex"])
def double(x, offset=0):
    return 2 * x + offset


@python_app(executors=["threads"])
def fails(x):
    raise ValueError(x)


@python_app(executors=["broken"])
def nobody_runs():
    return None


def until(condition):
    """Wait until the run shows something; what it shows may be a moment late."""
    while not condition():
        time.sleep(0.05)


with parsl.load(config) as kernel:
    assert kernel.task_count == 0 and kernel.tasks == {}
    first = double([1, 2], offset=[3])
    assert first.result() == [1, 2, 1, 2, 3]
    record = first.task_record
    assert record["args"] == ([1, 2],) and record["kwargs"] == {"offset": [3]}
    assert record["func_name"] == "double" and record["func"].__name__ == "double"
    assert record["id"] == first.tid == 0
    until(lambda: record["executor"] == "htex")
    assert record["status"] == States.exec_done and record["status"] in FINAL_STATES
    assert kernel.tasks[first.tid]["app_fu"] is first

    failed = fails("root")
    after = double(failed)
    error = after.exception()
    assert isinstance(error, DependencyError)
    assert error.task_id == after.tid
    ((cause, description),) = error.dependent_exceptions_tids
    assert isinstance(cause, ValueError) and description == f"task {failed.tid}"
    until(lambda: failed.task_record["fail_count"] == 1)

    assert kernel.task_count == 3
    until(lambda: kernel.task_state_counts[States.dep_fail] == 1)
    assert kernel.task_state_counts[States.exec_done] == kernel.task_state_counts[States.failed] == 1
    kernel.log_task_states()

    htex = kernel.executors["htex"]
    assert htex.label == "htex" and htex.max_workers_per_node == 1
    (manager,) = htex.connected_managers()
    assert manager["worker_count"] == 1
    until(lambda: manager["block_id"] in htex.connected_blocks())
    assert htex.outstanding() == 0 and not htex.bad_state_is_set

    error = nobody_runs().exception()
    assert isinstance(error, BadStateException) and isinstance(error, ExecutorError), error
    until(lambda: kernel.executors["broken"].bad_state_is_set)
    assert os.path.isdir(kernel.run_dir) and not kernel.cleanup_called
assert kernel.cleanup_called
print("done")
