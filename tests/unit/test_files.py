"""File: a name that is a path for everything that takes one."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from parslab.data_provider.files import File
from parslab.errors import ConfigurationError


def test_a_path_is_taken_as_it_is() -> None:
    file = File("data/a b#c.csv")
    assert (file.scheme, file.path, file.filename, file.filepath) == ("file", "data/a b#c.csv", "a b#c.csv", file.path)
    assert os.fspath(file) == str(file) == f"{file}" == "data/a b#c.csv"


def test_a_file_url_is_a_path_too() -> None:
    assert File("file:///data/a%20b.csv").filepath == "/data/a b.csv"
    assert File("file://localhost/x").filepath == "/x"


def test_path_objects_and_odd_names_are_paths() -> None:
    assert File(Path("x") / "y").filepath == "x/y"
    assert File("a:b").filepath == "a:b"


@pytest.mark.parametrize("url", ["http://host/x", "zip:/a.zip/b", "file://other.host/x"])
def test_other_places_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="only paths and file: URLs"):
        File(url)


@pytest.mark.parametrize("wrong", ["", b"x", 3, None])
def test_what_is_no_name_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError):
        File(wrong)  # type: ignore[arg-type]


def test_copies_are_clean() -> None:
    file = File("x")
    file.local_path = "/scratch/x"
    assert file.filepath == "/scratch/x"
    assert file.cleancopy().filepath == "x"
    assert pickle.loads(pickle.dumps(file)) == file
    assert file != File("x")
    assert len({File("x"), File("x")}) == 1
