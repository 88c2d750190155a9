"""Values have the same identity in a process that hashes texts in another way, and so keeps sets in another order."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from parslab.serialize.identity.calls import identify_arguments
from tests.process.dry_kernel import ROOT
from tests.unit.serialize.identity.test_terms import Point, same, values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OTHER = """
import sys
from parslab.serialize.identity.calls import identify_arguments
from tests.unit.serialize.identity.test_terms import Point
for line in sys.stdin:
    value = eval(line, {"Point": Point, "inf": float("inf")})
    print(identify_arguments((value,), {}).hex(), flush=True)
"""


@pytest.fixture(scope="module")
def other() -> Iterator[Callable[[Any], bytes]]:
    """``value -> its identity`` in another process."""
    env = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": f"{ROOT / 'python'}:{ROOT}"}
    with subprocess.Popen(
        [sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, cwd=ROOT, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(value: Any) -> bytes:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{value!a}\n")
            process.stdin.flush()
            return bytes.fromhex(process.stdout.readline())

        yield ask
        process.stdin.close()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(one=values, another=values)
def test_equal_values_have_one_identity_in_two_processes(other: Callable[[Any], bytes], one: Any, another: Any) -> None:
    here, there = identify_arguments((one,), {}), other(one)
    assert here == there
    assert (identify_arguments((another,), {}) == there) == same(one, another)


def test_the_other_process_keeps_sets_in_another_order(other: Callable[[Any], bytes]) -> None:
    texts = [f"text {n}" for n in range(100)]
    assert other(set(texts)) == identify_arguments((set(texts),), {})
    assert other(list(set(texts))) == identify_arguments((list(set(texts)),), {})  # sent as this process keeps it
    assert other(Point(frozenset(texts))) == identify_arguments((Point(frozenset(texts)),), {})
