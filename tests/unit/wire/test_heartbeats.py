"""When a silent peer counts as lost."""

from __future__ import annotations

from parslab.wire.heartbeats import SilenceCheck

PERIOD, THRESHOLD = 5.0, 20.0


def check(now: float = 100.0) -> SilenceCheck:
    made = SilenceCheck(PERIOD, THRESHOLD, now)
    made.begin(now)
    return made


def test_a_peer_is_lost_after_the_threshold() -> None:
    silence = check()
    for now in (105.0, 110.0, 115.0, 120.0):
        assert silence.begin(now) == now + PERIOD
        assert not silence.is_lost(100.0, now)
    silence.begin(125.0)
    assert silence.is_lost(100.0, 125.0)
    assert not silence.is_lost(105.0, 125.0)


def test_a_process_that_stood_still_reads_before_it_judges() -> None:
    """A DataFlowKernel on a busy machine gave up managers whose heartbeats it had not read."""
    silence = check()
    silence.begin(160.0)
    assert not silence.is_lost(100.0, 160.0)
    silence.begin(165.0)
    assert silence.is_lost(100.0, 165.0)
    assert not silence.is_lost(160.1, 165.0)


def test_a_check_that_is_a_little_late_counts() -> None:
    silence = check()
    for now in (109.0, 118.0, 127.0):
        silence.begin(now)
    assert silence.is_lost(100.0, 127.0)
