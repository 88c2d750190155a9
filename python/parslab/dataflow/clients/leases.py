"""Decides how long a run outlives its clients [core].

The rule is pure: clients attach and leave, and time is an argument.  ``presence`` carries out the outcomes.

- A run ends ``linger`` seconds after its last client has left.  With a linger of 0 it ends when its owner leaves.
- The owners are the client that started the run, and every other kernel of the same notebook.
- The tasks of a client of a notebook are kept for ``linger`` seconds after it left, so that the notebook's next kernel
  finds them.
- The tasks of a guest without a notebook are released when it leaves, because no other client could ask for them.

Invariants (``check``):
- a client is attached or absent, never both; absent clients are those whose tasks are kept;
- ``away`` is a time exactly while no client is attached.
"""

from __future__ import annotations

import enum

from parslab.records.durations import format_duration

__all__ = ["FIRST_CLIENT", "Leases", "LeaveOutcome"]

FIRST_CLIENT = 60.0
"""Seconds that a run waits at least for its first client."""


class LeaveOutcome(enum.Enum):
    """The outcome for the tasks of a client that left."""

    kept = 1
    """They continue, and their results are kept until the client's lease expires."""
    released = 2
    """No other client can ask for them: they are dropped."""
    ends = 3
    """The run ends."""


class _ClientLease:
    """The lease of one client."""

    __slots__ = ("left", "notebook", "owner")

    def __init__(self, notebook: str, owner: bool) -> None:
        self.notebook = notebook
        self.owner = owner
        self.left = 0.0


class Leases:
    """The attached clients, and the absent clients with the time until which they may return.

    Parameters
    ----------
    linger
        Seconds that the run outlives its last client; 0: it ends when its owner leaves.
    notebook
        Path of the notebook that the run was started for; empty for a script.
    now
        When the run begins; no client is attached yet.
    """

    def __init__(self, linger: float, notebook: str, now: float) -> None:
        self.linger = linger
        self.notebook = notebook
        self.away: float | None = now
        """The time since which no client is attached; None while one is attached."""
        self._fresh = True
        """Whether no client has attached yet."""
        self._attached: dict[int, _ClientLease] = {}
        self._absent: dict[int, _ClientLease] = {}

    # ----- what happens

    def attached(self, client: int, notebook: str = "", owner: bool = False) -> bool:
        """A client attaches; return whether it is an owner."""
        # Every kernel of the notebook may end the run: the one that started it may be gone.
        owner = owner or (notebook != "" and notebook == self.notebook)
        self._absent.pop(client, None)
        self._attached[client] = _ClientLease(notebook, owner)
        self.away, self._fresh = None, False
        return owner

    def left(self, client: int, now: float) -> LeaveOutcome:
        """A client has left, for whatever reason."""
        # A client that never introduced itself has no lease.
        lease = self._attached.pop(client, None)
        if lease is None:
            return LeaveOutcome.released
        lease.left = now
        if not self._attached:
            self.away = now
        if self.linger <= 0:
            # Without a linger nobody can return, so the run ends with its last owner, whatever guests are left.
            last_owner = lease.owner and not any(other.owner for other in self._attached.values())
            return LeaveOutcome.ends if last_owner or not self._attached else LeaveOutcome.released
        # A script has no successor that could ask for its tasks.
        if not lease.owner and not lease.notebook:
            return LeaveOutcome.released
        self._absent[client] = lease
        return LeaveOutcome.kept

    def set_linger(self, seconds: float) -> None:
        """Set how long the run outlives its last client."""
        self.linger = max(0.0, seconds)

    # ----- what is due

    def end_reason(self, now: float) -> str:
        """Return why the run ends now; empty while it does not."""
        end = self.ends
        if end is None or now < end:
            return ""
        return "nobody came" if self._fresh else f"nobody came back within {format_duration(self.linger)} (linger)"

    def expired(self, now: float) -> list[int]:
        """Return the absent clients whose tasks are not kept any longer, and forget them."""
        due = [number for number, lease in self._absent.items() if self._kept_until(number, lease) <= now]
        for number in due:
            del self._absent[number]
        return due

    @property
    def ends(self) -> float | None:
        """Return when the run ends if no client attaches before; None while one is attached."""
        if self.away is None:
            return None
        # The first client is still starting: a short linger must not end the run before it attaches.
        return self.away + (max(self.linger, FIRST_CLIENT) if self._fresh else self.linger)

    def next_deadline(self) -> float | None:
        """Return when the next lease ends if no client attaches before; None if no lease can end."""
        times = [until for n, one in self._absent.items() if (until := self._kept_until(n, one)) != float("inf")]
        if self.ends is not None:
            times.append(self.ends)
        return min(times, default=None)

    def _kept_until(self, number: int, lease: _ClientLease) -> float:
        """Return until when an absent client's tasks are kept: without end while its notebook is attached again."""
        if lease.notebook and any(other.notebook == lease.notebook for other in self._attached.values()):
            return float("inf")
        # The lost kernels of one notebook expire together: calls of one may have inputs of another.
        same = [one for n, one in self._absent.items() if n == number or (lease.notebook == one.notebook != "")]
        return max(one.left for one in same) + self.linger

    # ----- who is there

    def absent(self, notebook: str) -> list[int]:
        """Return the absent clients of this notebook, oldest first."""
        return sorted(number for number, lease in self._absent.items() if lease.notebook == notebook != "")

    def is_absent(self, client: int) -> bool:
        """Return whether a client has left and its tasks are kept."""
        return client in self._absent

    def left_at(self, notebook: str) -> float | None:
        """Return when the last absent client of this notebook left; None if there is none."""
        return max((one.left for one in self._absent.values() if one.notebook == notebook != ""), default=None)

    def sharers(self, client: int) -> list[int]:
        """Return the other attached clients of the same notebook."""
        notebook = self._attached[client].notebook
        return [n for n, lease in self._attached.items() if n != client and lease.notebook == notebook != ""]

    @property
    def count(self) -> int:
        """Return how many clients are attached."""
        return len(self._attached)

    def check(self) -> None:
        """Verify the invariants; for tests."""
        assert not self._attached.keys() & self._absent.keys()
        assert (self.away is None) == bool(self._attached)
        assert all(lease.owner or lease.notebook for lease in self._absent.values())
