"""Each error has one reason, and failures carry it from where they are made."""

from __future__ import annotations

import pickle

import pytest

from parslab.errors import (
    AppTimeout,
    BashExitFailure,
    DataFlowKernelLost,
    DependencyError,
    DeserializationError,
    ManagerLost,
    SerializationError,
    WorkerLost,
)
from parslab.records.reasons import INFRASTRUCTURE, Reason, reason_of
from parslab.serialize.failures import failure_from, failure_of


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no"), Reason.app_error),
        (BashExitFailure("app", 1, ""), Reason.app_error),
        (MemoryError(), Reason.out_of_memory),
        (AppTimeout(1, 2.0), Reason.walltime),
        (SerializationError("x", "y"), Reason.serialization),
        (DeserializationError("x", "y"), Reason.serialization),
        (DependencyError(1, [], []), Reason.dependency),
        (WorkerLost(1, "was killed", "host", 7, ""), Reason.worker_lost),
        (WorkerLost(1, "was killed", "host", 7, "", "out_of_memory"), Reason.out_of_memory),
        (WorkerLost(1, "its executor is stopped", "", 0, ""), Reason.never_run),
        (ManagerLost(1, "m", "host", "0", "was silent"), Reason.node_lost),
        (DataFlowKernelLost("run", "was killed", "log"), Reason.kernel_lost),
    ],
)
def test_errors_and_their_reasons(error: Exception, reason: Reason) -> None:
    assert reason_of(error) is reason
    assert reason_of(pickle.loads(pickle.dumps(error))) is reason
    assert failure_of(error).reason == ("" if reason is Reason.app_error else str(reason))


def test_errors_of_our_own_travel_without_a_traceback() -> None:
    failure = failure_from(AppTimeout(3, 1.5))
    assert (failure.reason, failure.traceback) == ("walltime", "")
    assert pickle.loads(failure.payload).limit == 1.5


def test_failures_of_machines_differ_from_failures_of_functions() -> None:
    assert {reason.value for reason in Reason} >= INFRASTRUCTURE
    assert Reason.app_error.value not in INFRASTRUCTURE
