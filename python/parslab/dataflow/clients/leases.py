"""How long a run outlives its clients [core].

Pure: clients come and go, time is an argument, verdicts go out; ``attendance`` carries them out.  A run ends ``linger``
seconds after its last client has left; with a linger of 0 it ends when its owner does, and guests are told.  What a
client of a notebook has called is kept as long, so that the notebook's next kernel finds it; what a guest without a
notebook has called is let go when it leaves, because nobody could come back for it.

The owner is whoever started the run, and every other kernel of the same notebook.  Invariants (``check``):
- a client is here or gone, never both; those gone are the ones whose calls are kept;
- ``away`` is a time exactly while nobody is here.
"""

from __future__ import annotations

import enum

from parslab.records.spans import said

__all__ = ["FIRST", "Leases", "LeaveOutcome"]

FIRST = 60.0
"""Seconds that a run waits at least for the first client to come."""


class LeaveOutcome(enum.Enum):
    """What becomes of a client that has left."""

    kept = 1
    """Its calls go on, and what they gave is kept until it is due."""
    let_go = 2
    """Nobody can come back for its calls."""
    ends = 3
    """The run ends with it."""


class _Tie:
    """What ties one client to the run."""

    __slots__ = ("left", "notebook", "owner")

    def __init__(self, notebook: str, owner: bool) -> None:
        self.notebook = notebook
        self.owner = owner
        self.left = 0.0


class Leases:
    """Who is here, who may come back, and until when.

    Parameters
    ----------
    linger
        Seconds that the run outlives its last client; 0: it ends with its owner.
    notebook
        Path of the notebook that the run was started for; empty for a script.
    now
        The run begins, and nobody is here yet.
    """

    def __init__(self, linger: float, notebook: str, now: float) -> None:
        self.linger = linger
        self.notebook = notebook
        self.away: float | None = now
        """Since when nobody is here."""
        self._fresh = True
        self._here: dict[int, _Tie] = {}
        self._gone: dict[int, _Tie] = {}

    # ----- what happens

    def attached(self, client: int, notebook: str = "", owner: bool = False) -> bool:
        """A client has come; whether it is an owner."""
        owner = owner or (notebook != "" and notebook == self.notebook)
        self._gone.pop(client, None)
        self._here[client] = _Tie(notebook, owner)
        self.away, self._fresh = None, False
        return owner

    def left(self, client: int, now: float) -> LeaveOutcome:
        """A client has gone, however that came."""
        tie = self._here.pop(client, None)
        if tie is None:
            return LeaveOutcome.let_go
        tie.left = now
        if not self._here:
            self.away = now
        if self.linger <= 0:
            last_owner = tie.owner and not any(other.owner for other in self._here.values())
            return LeaveOutcome.ends if last_owner or not self._here else LeaveOutcome.let_go
        if not tie.owner and not tie.notebook:
            return LeaveOutcome.let_go
        self._gone[client] = tie
        return LeaveOutcome.kept

    def keep(self, seconds: float) -> None:
        """Somebody has said how long the run shall outlive its last client."""
        self.linger = max(0.0, seconds)

    # ----- what is due

    def over(self, now: float) -> str:
        """Why the run ends now; empty while it does not."""
        end = self.ends
        if end is None or now < end:
            return ""
        return "nobody came" if self._fresh else f"nobody came back within {said(self.linger)} (linger)"

    def expired(self, now: float) -> list[int]:
        """Clients whose calls are not kept any longer; they are forgotten."""
        due = [number for number, tie in self._gone.items() if self._until(number, tie) <= now]
        for number in due:
            del self._gone[number]
        return due

    @property
    def ends(self) -> float | None:
        """When the run ends if nobody comes; None while somebody is here."""
        if self.away is None:
            return None
        return self.away + (max(self.linger, FIRST) if self._fresh else self.linger)

    def next_deadline(self) -> float | None:
        """When something is due, if nothing happens before."""
        times = [until for n, tie in self._gone.items() if (until := self._until(n, tie)) != float("inf")]
        if self.ends is not None:
            times.append(self.ends)
        return min(times, default=None)

    def _until(self, number: int, tie: _Tie) -> float:
        """Until when the calls of a client that has gone are kept: for ever while its notebook is here again."""
        if tie.notebook and any(other.notebook == tie.notebook for other in self._here.values()):
            return float("inf")
        ties = [other for n, other in self._gone.items() if n == number or (tie.notebook == other.notebook != "")]
        return max(other.left for other in ties) + self.linger

    # ----- who is there

    def kept(self, notebook: str) -> list[int]:
        """Clients of this notebook that have gone and whose calls are kept, oldest first."""
        return sorted(number for number, tie in self._gone.items() if tie.notebook == notebook != "")

    def is_kept(self, client: int) -> bool:
        """Whether what a client has called is kept though it has gone."""
        return client in self._gone

    def left_at(self, notebook: str) -> float | None:
        """When the last of those has gone."""
        return max((tie.left for tie in self._gone.values() if tie.notebook == notebook != ""), default=None)

    def sharers(self, client: int) -> list[int]:
        """Other clients of the same notebook that are here."""
        notebook = self._here[client].notebook
        return [number for number, tie in self._here.items() if number != client and tie.notebook == notebook != ""]

    @property
    def here(self) -> int:
        """How many clients there are."""
        return len(self._here)

    def check(self) -> None:
        """Verify the invariants; for tests."""
        assert not self._here.keys() & self._gone.keys()
        assert (self.away is None) == bool(self._here)
        assert all(tie.owner or tie.notebook for tie in self._gone.values())
