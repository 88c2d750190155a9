"""What Kubernetes says of a pod, and what that means; the ends of pods that the suite has on a stand-in, and others."""

from __future__ import annotations

from typing import Any

import pytest

from parslab.providers.kube.failures import refusal, unreachable
from parslab.providers.kube.pod_book import EventBook, PodBook
from parslab.providers.kube.pod_states import PodEvent, event_of, pod_state, state_of_deleted
from parslab.records.states import BlockState
from parslab.scaling.failure_sentences import advice


def pod(phase: str = "Running", state: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    status: dict[str, Any] = {"phase": phase, **more}
    if state is not None:
        status["containerStatuses"] = [{"name": "sidecar", "state": {}}, {"name": "parslab", "state": state}]
    return {"metadata": {"name": "p", "uid": "1"}, "spec": {"nodeName": "n1"}, "status": status}


def warning(reason: str, message: str) -> PodEvent:
    return PodEvent("2026-01-01T00:00:00Z", True, reason, message)


def test_a_pod_that_runs() -> None:
    found = pod_state(pod(state={"running": {}}))
    assert (found.status.state, found.status.reason, found.status.hosts) == (BlockState.running, "", "n1")


def test_the_job_ends_with_its_container_whatever_else_runs_in_the_pod() -> None:
    assert pod_state(pod(state={"terminated": {"exitCode": 0}})).status.state is BlockState.finished
    found = pod_state(pod(state={"terminated": {"exitCode": 3, "reason": "Error"}})).status
    assert (found.state, found.reason) == (BlockState.failed, "exit status 3")


def test_a_node_that_does_not_answer_is_told_while_the_block_runs() -> None:
    ready = {"type": "Ready", "status": "False"}
    found = pod(state={"running": {}}, conditions=[ready])
    events = [warning("NodeNotReady", "Node is not ready")]
    assert pod_state(found, events).status.reason == "NodeNotReady: Node is not ready"
    found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    gone = pod_state(found, events)
    assert gone.lost
    assert gone.status.state is BlockState.failed


def test_a_pod_that_ends_in_order_is_not_lost() -> None:
    ready = {"type": "Ready", "status": "False", "reason": "ContainersNotReady"}
    found = pod(state={"running": {}}, conditions=[ready])
    found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not pod_state(found).lost


def test_an_image_that_cannot_be_pulled_is_told_with_the_reason_of_the_registry() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}}
    events = [warning("Failed", 'Failed to pull image "x": denied'), warning("Failed", "Error: ImagePullBackOff")]
    found = pod_state(pod("Pending", waiting), events)
    assert found.stuck
    assert found.status.reason.startswith('ImagePullBackOff: Failed to pull image "x": denied: correct image')
    assert pod_state(pod("Pending", waiting)).status.reason.startswith('ImagePullBackOff: Back-off pulling image "x"')


def test_an_init_container_that_does_not_start() -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    init = [{"name": "fetch", "state": waiting, "lastState": {"terminated": {"exitCode": 7}}}]
    found = pod_state(pod("Pending", {"waiting": {"reason": "PodInitializing"}}, initContainerStatuses=init))
    assert found.stuck
    assert found.status.reason.startswith(
        "init container fetch does not start: CrashLoopBackOff: back-off (exit status 7)"
    )


def test_warnings_that_stop_nothing_are_no_reason() -> None:
    found = pod_state(pod("Pending", {"waiting": {"reason": "ContainerCreating"}}), [warning("DNSConfigForming", "x")])
    assert (found.status.reason, found.stuck) == ("ContainerCreating", False)


@pytest.mark.parametrize(
    ("status", "state", "says"),
    [
        ({"reason": "Shutdown", "message": "Pod was terminated"}, "finished", "its node was shut down (Shutdown: Pod"),
        ({"reason": "Evicted", "message": "low"}, "failed", "Evicted: low: ask for as much memory and disk"),
        ({"reason": "NodeLost"}, "failed", "NodeLost: its node does not answer"),
        ({"reason": "UnexpectedAdmissionError", "message": "no gpu"}, "failed", "UnexpectedAdmissionError: no gpu"),
        ({}, "failed", "its pod has failed"),
    ],
)
def test_a_pod_that_has_failed(status: dict[str, Any], state: str, says: str) -> None:
    found = pod_state(pod("Failed", **status)).status
    assert found.state.value == state
    assert found.reason.startswith(says)


def test_a_deleted_pod() -> None:
    gone = pod(state={"running": {}})
    assert state_of_deleted(gone, []).state is BlockState.scaled_in
    found = state_of_deleted(gone, [warning("TaintManagerEviction", "Marking for deletion Pod")])
    assert (found.state, found.reason) == (BlockState.failed, "TaintManagerEviction: Marking for deletion Pod")


def test_our_advice_is_the_only_one() -> None:
    """ "Ask for less memory", which the words for schedulers would give, is the wrong one here."""
    killed = pod_state(pod(state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}})).status.reason
    assert "raise max_mem" in killed
    assert advice(killed) == ""


def test_the_book_keeps_what_was_seen_last() -> None:
    events = EventBook()
    book = PodBook(events)
    found = pod(state={"running": {}})
    book.add(found)
    book.listing()
    book.listed([])
    assert book.is_gone("p")
    book.forget(["p"])
    book.changed("MODIFIED", found)
    assert book.state("p") is None


def test_a_pod_that_is_made_while_the_list_is_asked_for_is_not_gone() -> None:
    book = PodBook(EventBook())
    book.listing()
    book.add(pod(state={"running": {}}))
    book.listed([])
    assert book.present() == ["p"]


def test_events_of_others_are_not_kept() -> None:
    events = EventBook()
    events.want(["p"])
    for name, uid in (("p", "1"), ("q", "2"), ("p", "1")):
        about = {"metadata": {"uid": uid}, "involvedObject": {"name": name}, "type": "Warning", "reason": "Failed"}
        events.changed("ADDED", about)
    assert [event.reason for event in events.of("p")] == ["Failed"]
    assert events.of("q") == []
    assert event_of({"metadata": {}}).message == ""


@pytest.mark.parametrize(
    ("status", "body", "says", "transient"),
    [
        (401, b'{"message": "Unauthorized"}', "Kubernetes does not accept the credentials (Unauthorized)", False),
        (404, b'{"message": "namespaces \\"x\\" not found"}', 'Kubernetes refuses the options (namespaces "x"', False),
        (503, b"upstream", "Kubernetes cannot do this now (upstream).", True),
        (422, b"[]", "Kubernetes refuses the options ([]): correct them, and load again.", False),
    ],
)
def test_refusals(status: int, body: bytes, says: str, transient: bool) -> None:
    error = refusal(status, body, "default")
    assert f"{error}".startswith(says)
    assert (error.status, error.transient) == (status, transient)


def test_no_token_is_in_a_sentence() -> None:
    words = f"{unreachable('connection refused, authorization: Bearer abc.def')}"
    assert "abc.def" not in words
    assert "Kubernetes does not answer (connection refused" in words
