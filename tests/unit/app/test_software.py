"""The option ``environment`` of an app."""

from __future__ import annotations

from typing import Any

import pytest

from parslab.app.python import PythonApp
from parslab.app.software import software
from parslab.errors import ConfigurationError
from parslab.records.software import Software


def body() -> None:
    pass


def test_requirements_are_sorted_and_equal_whatever_their_order() -> None:
    assert software("App f", ["b", " a  <2", "b"]) == Software(("a <2", "b")) == software("App f", ("a <2", "b"))


def test_no_environment_is_no_software() -> None:
    assert software("App f", None) is None
    assert PythonApp(body).spec is None


def test_a_path_is_an_environment_that_exists() -> None:
    assert software("App f", "/opt/env") == Software(python="/opt/env")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ("numpy<2", r"such as \['numpy<2'\], or the path"),
        ([], "must be a list of requirements"),
        ([1], "must be a list of requirements"),
        ({"numpy": "1"}, "must be a list of requirements"),
        (["-r", "file"], "'-r' is an option of pip"),
    ],
)
def test_mistakes_are_sentences(environment: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"App f: .*{words}"):
        software("App f", environment)


def test_it_stays_when_a_call_asks_for_resources() -> None:
    app = PythonApp(body, environment=["numpy<2"], resource_specification={"cores": 1})
    spec = app._call_spec({"parsl_resource_specification": {"cores": 2}})
    assert spec is not None
    assert (spec.cores, spec.software) == (2.0, Software(("numpy<2",)))


def test_the_same_function_with_other_software_has_another_fingerprint() -> None:
    plain, old, same = (PythonApp(body, environment=names) for names in (None, ["numpy<2"], ["numpy<2"]))
    digests = [app.code.current().fingerprint for app in (plain, old, same)]
    assert digests[0] != digests[1] == digests[2]
