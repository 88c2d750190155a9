"""Tables of pandas: what they hold counts, and not how it lies in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from parslab.serialize.identity.calls import identify_arguments

pd = pytest.importorskip("pandas")


def identity_of(value: Any) -> bytes:
    return identify_arguments((value,), {})


def table() -> Any:
    return pd.DataFrame(
        {
            "n": [1, 2, 3],
            "x": [0.5, float("nan"), 1.5],
            "text": ["a", None, "c"],
            "when": pd.date_range("2026-01-01", periods=3),
            "kind": pd.Categorical(["u", "v", "u"]),
            "some": pd.array([1, None, 3], dtype="Int64"),
            "mixed": [{"p", "q"}, 1, "z"],
        }
    )


def test_equal_tables_have_one_identity() -> None:
    whole, parts = table(), table()[["n"]]
    for name in table().columns[1:]:
        parts[name] = table()[name]  # each column a block of its own
    assert whole.equals(parts)
    assert identity_of(whole) == identity_of(parts) == identity_of(whole.copy())
    for name in whole.columns:
        assert identity_of(whole[name]) == identity_of(parts[name])


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.assign(n=[1, 2, 4]),
        lambda t: t.assign(n=t.n.astype("i4")),
        lambda t: t.assign(text=["a", "b", "c"]),
        lambda t: t.assign(some=pd.array([1, 2, 3], dtype="Int64")),
        lambda t: t.assign(kind=pd.Categorical(["u", "v", "v"])),
        lambda t: t.assign(when=t.when + pd.Timedelta(1)),
        lambda t: t.assign(mixed=[{"p"}, 1, "z"]),
        lambda t: t.rename(columns={"n": "m"}),
        lambda t: t.set_index("n"),
        lambda t: t.iloc[[1, 0, 2]],
        lambda t: t[list(reversed(t.columns))],
        lambda t: t.head(2),
    ],
)
def test_other_tables_have_another(change: Any) -> None:
    assert identity_of(change(table())) != identity_of(table())


def test_series_and_indexes() -> None:
    things = [
        pd.Series([1, 2]),
        pd.Series([1, 2], name="a"),
        pd.Series([1, 2], index=[1, 2]),
        pd.Series([1.0, 2.0]),
        pd.Series(["1", "2"]),
        pd.Index([1, 2]),
        pd.Index(["1", "2"]),
        pd.MultiIndex.from_product([[1, 2], ["a", "b"]]),
        pd.date_range("2026-01-01", periods=2),
        pd.Timestamp("2026-01-01"),
        pd.NaT,
        np.array([1, 2]),
    ]
    assert len({identity_of(thing) for thing in things}) == len(things)
    assert [identity_of(thing) for thing in things] == [identity_of(thing) for thing in things]
