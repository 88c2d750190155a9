"""Joblib and scikit-learn run on a run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import joblib
import pytest

import parslab
from parslab.parsl.api.pool_executor import ParslPoolExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator


def square(x: int) -> int:
    return x * x


def where(_: int) -> int:
    return os.getpid()


def fails_at(x: int) -> int:
    if x == 3:
        raise LookupError(x)
    return x


@pytest.fixture
def pool(shared: parslab.DataFlowKernel) -> Iterator[ParslPoolExecutor]:
    """An executor on the run that the tests of this module share."""
    with ParslPoolExecutor(dfk=shared) as made:
        yield made


def test_calls_run_on_workers_in_order(pool: ParslPoolExecutor) -> None:
    with parslab.joblib_backend(pool, workers=2):
        assert joblib.Parallel(n_jobs=-1)(joblib.delayed(square)(n) for n in range(50)) == [n * n for n in range(50)]
        assert os.getpid() not in joblib.Parallel(n_jobs=2)(joblib.delayed(where)(n) for n in range(4))


def test_an_error_of_a_call_is_raised(pool: ParslPoolExecutor) -> None:
    with parslab.joblib_backend(pool, workers=2):
        with pytest.raises(LookupError):
            joblib.Parallel(n_jobs=2)(joblib.delayed(fails_at)(n) for n in range(20))
        assert joblib.Parallel(n_jobs=2)(joblib.delayed(square)(n) for n in range(3)) == [0, 1, 4]


@pytest.mark.timeout(240)  # this process and both workers import scikit-learn
def test_scikit_learn(pool: ParslPoolExecutor) -> None:
    from sklearn.datasets import load_iris  # type: ignore[import-untyped,unused-ignore]
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped,unused-ignore]
    from sklearn.model_selection import GridSearchCV  # type: ignore[import-untyped,unused-ignore]

    x, y = load_iris(return_X_y=True)

    def fitted(jobs: int) -> float:
        search = GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1.0]}, cv=3, n_jobs=jobs)
        return float(search.fit(x, y).best_score_)

    with parslab.joblib_backend(pool, workers=2):
        assert fitted(2) == fitted(1)
