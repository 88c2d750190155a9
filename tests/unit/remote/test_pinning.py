"""How a node is shared out among workers: counts, cores, accelerators, variables, and what cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parslab.records.executor_settings import ManagerSettings
from parslab.remote.manager.pinning import PinningError, WorkerPlan, notice, plan

GB = 10**9


def plans(cores: int | list[int] = 8, memory: int = 64 * GB, **options: Any) -> list[WorkerPlan]:
    """The workers of a node with so many cores."""
    there = list(range(cores)) if isinstance(cores, int) else cores
    extra = {key: options.pop(key) for key in ("usable", "pinnable", "inherited") if key in options}
    return plan(ManagerSettings(**options), there, memory, "pool-7", "3", **extra)


def pinned(*args: Any, **options: Any) -> list[list[int]]:
    return [sorted(worker.cores) for worker in plans(*args, **options) if worker.cores is not None]


def variables(name: str, **options: Any) -> list[str | None]:
    return [worker.environment.get(name) for worker in plans(**options)]


def refused(**options: Any) -> str:
    with pytest.raises(PinningError) as raised:
        plans(**options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# ----- how many


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 8),
        ({"max_workers_per_node": 3}, 3),
        ({"max_workers_per_node": 30}, 8),
        ({"cores_per_worker": 3.0}, 2),
        ({"cores_per_worker": 0.5}, 16),
        ({"cores_per_worker": 0.1, "cores": 3}, 30),
        ({"mem_per_worker": 20.0}, 3),
        ({"mem_per_worker": 20.0, "max_workers_per_node": 2}, 2),
        ({"available_accelerators": ["0", "1"]}, 2),
        ({"usable": 2}, 2),
        ({"usable": 2, "cpu_affinity": "block"}, 2),
        ({"cpu_affinity": "list:0:1:2"}, 3),
    ],
)
def test_the_least_of_all_limits_counts(options: dict[str, Any], count: int) -> None:
    assert len(plans(**options)) == count


def test_a_node_without_room_for_one_worker_says_what_it_lacks() -> None:
    found = refused(cores=2, cores_per_worker=4.0)
    assert "no room for a single worker: it has 2 usable cores and cores_per_worker=4;" in found
    found = refused(memory=3 * GB, mem_per_worker=4.0)
    assert "it has 3.0 GB of memory and mem_per_worker=4;" in found


# ----- which cores


def test_without_affinity_no_worker_is_bound() -> None:
    assert [worker.cores for worker in plans(cores=2)] == [None, None]


@pytest.mark.parametrize(
    ("affinity", "shares"),
    [
        ("block", [[0, 1, 2], [3, 4, 5], [6, 7]]),
        ("block-reverse", [[6, 7], [3, 4, 5], [0, 1, 2]]),
        ("alternating", [[0, 3, 6], [1, 4, 7], [2, 5]]),
        ("list:0,7:1-3:6", [[0, 7], [1, 2, 3], [6]]),
    ],
)
def test_cores_are_shared_as_asked(affinity: str, shares: list[list[int]]) -> None:
    options = {} if affinity.startswith("list") else {"max_workers_per_node": 3}
    assert pinned(cpu_affinity=affinity, **options) == shares


def test_only_the_cores_of_this_job_are_shared() -> None:
    assert pinned(cores=[9, 4, 5, 8], cpu_affinity="block", max_workers_per_node=2) == [[4, 5], [8, 9]]


@given(
    cores=st.lists(st.integers(0, 200), min_size=1, max_size=40, unique=True),
    count=st.integers(1, 40),
    affinity=st.sampled_from(["block", "block-reverse", "alternating"]),
)
def test_every_core_goes_to_exactly_one_worker(cores: list[int], count: int, affinity: str) -> None:
    shares = pinned(cores=cores, cpu_affinity=affinity, max_workers_per_node=count)
    assert sorted(core for share in shares for core in share) == sorted(cores)
    assert len(shares) == min(count, len(cores))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_arguments_that_cannot_be_bound_are_reported() -> None:
    assert "needs a core for each worker, and there are 4 workers on 2 usable cores" in refused(
        cores=2, cores_per_worker=0.5, cpu_affinity="block"
    )
    assert "lists core 9, 11, but the cores of this node that this job may use are 0-3,8." in refused(
        cores=[0, 1, 2, 3, 8], cpu_affinity="list:0,9:8,11"
    )
    found = refused(cpu_affinity="list:0:1:2", max_workers_per_node=2)
    assert "lists cores for 3 workers, but there is room for 2 on this node (max_workers_per_node=2)" in found
    assert "has '' where the cores of a worker should stand" in refused(cpu_affinity="list:0::1")
    assert "has '3-1' where the cores" in refused(cpu_affinity="list:3-1")
    assert "must be none, block," in refused(cpu_affinity="random")
    assert "available_accelerators names 1," in refused(cpu_affinity="list:0:1", available_accelerators=["0"])


def test_a_system_that_cannot_bind_ignores_the_affinity_and_says_so() -> None:
    options: dict[str, Any] = {"cpu_affinity": "list:0:99"}
    assert [worker.cores for worker in plans(cores=2, pinnable=False, **options)] == [None, None]
    assert notice(ManagerSettings(**options), pinnable=False).startswith("cpu_affinity='list:0:99' is ignored here: ")
    assert notice(ManagerSettings(**options), pinnable=True) == ""
    assert notice(ManagerSettings(), pinnable=False) == ""


# ----- threads


def test_libraries_get_the_cores_of_their_worker() -> None:
    assert variables("OMP_NUM_THREADS", cores=8, max_workers_per_node=2) == ["4", "4"]
    assert variables("OMP_NUM_THREADS", cores=8, usable=2) == ["1", "1"]
    assert variables("OMP_NUM_THREADS", cores=8, cores_per_worker=0.5, max_workers_per_node=16) == ["1"] * 16
    assert variables("OMP_NUM_THREADS", cores=8, max_workers_per_node=3, cpu_affinity="block") == ["3", "3", "2"]
    assert variables("OPENBLAS_NUM_THREADS", cores=8, max_workers_per_node=2, threads_per_worker=3) == ["3", "3"]
    assert variables("GOMP_CPU_AFFINITY", cores=4, max_workers_per_node=2) == [None, None]


def test_openmp_binds_to_the_cores_of_its_worker() -> None:
    options: dict[str, Any] = {"cores": 4, "max_workers_per_node": 2, "cpu_affinity": "alternating"}
    assert variables("GOMP_CPU_AFFINITY", **options) == ["0,2", "1,3"]
    assert variables("KMP_AFFINITY", **options) == ["explicit,proclist=[0,2]", "explicit,proclist=[1,3]"]


# ----- accelerators


def test_each_worker_sees_its_accelerator_only() -> None:
    first, second = plans(available_accelerators=["0", "1"])
    for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"):
        assert (first.environment[name], second.environment[name]) == ("0", "1")
    # ROCm counts anew behind ROCR_VISIBLE_DEVICES, so the one device that is left is number 0.
    assert second.environment["HIP_VISIBLE_DEVICES"] == "0"
    assert second.environment["ZE_ENABLE_PCI_ID_DEVICE_ORDER"] == "1"
    assert variables("CUDA_VISIBLE_DEVICES", cores=2) == [None, None]


def test_workers_share_an_accelerator_that_is_listed_twice() -> None:
    twice = ["0", "0", "1", "1"]
    assert variables("CUDA_VISIBLE_DEVICES", available_accelerators=twice) == twice
    assert variables("CUDA_VISIBLE_DEVICES", available_accelerators=twice, max_workers_per_node=2) == ["0", "1"]
    assert variables("CUDA_VISIBLE_DEVICES", available_accelerators=twice, max_workers_per_node=3) == ["0", "0", "1"]
    share = {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "50"}
    assert variables("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", available_accelerators=twice, environment=share) == ["50"] * 4


def test_a_worker_may_have_several() -> None:
    assert variables("CUDA_VISIBLE_DEVICES", available_accelerators=["0,1", "2,3"]) == ["0,1", "2,3"]
    assert variables("HIP_VISIBLE_DEVICES", available_accelerators=["0,1", "2,3"]) == ["0,1", "0,1"]


@pytest.mark.parametrize(
    ("given", "asked", "seen"),
    [
        ("2,3", ["0", "1"], ["2", "3"]),
        ("2,3", ["2", "3"], ["2", "3"]),
        ("1,2", ["0", "1"], ["1", "2"]),
        ("GPU-a,GPU-b", ["0", "1"], ["GPU-a", "GPU-b"]),
        ("GPU-a,GPU-b", ["GPU-b"], ["GPU-b"]),
        ("4,5,6,7", ["0,1", "2,3"], ["4,5", "6,7"]),
        ("", ["0", "1"], ["0", "1"]),
    ],
)
def test_numbers_count_among_what_the_scheduler_gave(given: str, asked: list[str], seen: list[str]) -> None:
    inherited = {"CUDA_VISIBLE_DEVICES": given}
    assert variables("CUDA_VISIBLE_DEVICES", available_accelerators=asked, inherited=inherited) == seen
    assert variables("ROCR_VISIBLE_DEVICES", available_accelerators=asked, inherited=inherited) == seen
    assert variables("ZE_AFFINITY_MASK", available_accelerators=asked, inherited=inherited) == asked


def test_an_accelerator_that_the_job_does_not_have() -> None:
    found = refused(available_accelerators=["0", "1", "2"], inherited={"ROCR_VISIBLE_DEVICES": "4,5"})
    assert "names 2, but this job has 2 (ROCR_VISIBLE_DEVICES=4,5)" in found


# ----- who it is


def test_worker_has_its_identity_in_the_environment() -> None:
    (_, second) = plans(cores=2, environment={"PARSL_WORKER_RANK": "9", "MODEL": "large", "OMP_NUM_THREADS": "5"})
    for prefix in ("PARSLAB", "PARSL"):
        found = [second.environment[f"{prefix}_WORKER_{word}"] for word in ("RANK", "COUNT", "POOL_ID", "BLOCK_ID")]
        assert found == ["1", "2", "pool-7", "3"]
    assert (second.environment["MODEL"], second.environment["OMP_NUM_THREADS"]) == ("large", "5")
