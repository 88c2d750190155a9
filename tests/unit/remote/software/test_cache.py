"""The cache of environments: names, locks, damage, and what is removed."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from parslab.errors import ConfigurationError
from parslab.remote.software import cache as module
from parslab.remote.software.cache import EnvironmentCache, cache_folder, key_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def cache(tmp_path: Path) -> EnvironmentCache:
    return EnvironmentCache(tmp_path / "environments")


def make(cache: EnvironmentCache, key: str, size: int = 100, age: float = 0.0) -> Path:
    """Make something that looks like an environment, last used ``age`` seconds ago."""
    with cache.making(key):
        new = cache.new_folder(key)
        (new / "bin").mkdir(parents=True)
        (new / "bin" / "python").symlink_to("/bin/sh")
        (new / "data").write_bytes(b"x" * size)
        cache.write_manifest(new, ["tiny<2"], "3.11.7")
        cache.publish(new, key)
    path = cache.path(key)
    used = time.time() - age
    os.utime(path, (used, used))
    return path


def test_the_name_depends_on_requirements_and_index_only() -> None:
    assert key_of(["a", "b"], {}) == key_of(["b", "a"], {})
    assert len({key_of(["a"], {}), key_of(["a", "b"], {}), key_of(["a"], {"UV_INDEX": "x"})}) == 3


def test_the_folder_is_chosen_by_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PARSLAB_ENVIRONMENTS", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("PARSLAB_ENVIRONMENTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "parslab" / "environments"


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigurationError, match="is refused because others"):
        EnvironmentCache(folder)


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"cannot be made .*PARSLAB_ENVIRONMENTS"):
        EnvironmentCache(tmp_path / "file" / "environments")


def test_an_environment_is_there_only_when_it_is_complete(cache: EnvironmentCache) -> None:
    with cache.making("aa"):
        new = cache.new_folder("aa")
        new.mkdir()
        assert cache.manifest("aa") is None
        assert cache.environments() == []
    make(cache, "aa")
    manifest = cache.manifest("aa")
    assert manifest is not None
    assert manifest.requirements == ("tiny<2",)
    assert list(cache.folder.glob(".*")) == []  # what the maker that gave up has left


@pytest.mark.parametrize("what", ["data", "bin/python", "parslab.json"])
def test_a_missing_file_is_damage(cache: EnvironmentCache, what: str) -> None:
    (make(cache, "aa") / what).unlink()
    assert cache.manifest("aa") is None
    make(cache, "aa")
    assert cache.manifest("aa") is not None


def test_a_truncated_file_is_damage_and_compiled_code_is_none(cache: EnvironmentCache) -> None:
    path = make(cache, "aa")
    (path / "__pycache__").mkdir()
    (path / "__pycache__" / "x.pyc").write_bytes(b"code")
    assert cache.manifest("aa") is not None
    (path / "data").write_bytes(b"x")
    assert cache.manifest("aa") is None


def test_an_environment_in_use_is_not_removed(cache: EnvironmentCache) -> None:
    make(cache, "aa")
    used = cache.use("aa")
    assert [(one.key, one.in_use) for one in cache.environments()] == [("aa", True)]
    assert not cache.remove("aa")
    os.close(used)
    assert cache.remove("aa")
    assert cache.environments() == []


def test_what_nobody_has_used_for_long_is_pruned(cache: EnvironmentCache) -> None:
    make(cache, "aa", age=40 * 86400.0)
    make(cache, "bb", age=10 * 86400.0)
    assert cache.prune() == ["aa"]
    assert cache.prune(max_age=5 * 86400.0) == ["bb"]


def test_the_oldest_are_pruned_while_all_are_too_large(cache: EnvironmentCache) -> None:
    for number, key in enumerate(["aa", "bb", "cc"]):
        make(cache, key, size=1000, age=7200.0 * (number + 1))
    assert cache.prune(max_size=2500) == ["cc"]
    used = cache.use("bb")
    os.utime(cache.path("bb"), (0, 0))
    os.utime(used, (0, 0))
    assert cache.prune(max_size=1500) == []  # nobody removes what is in use
    os.close(used)
    assert cache.prune(max_size=1500) == ["bb"]


def test_a_new_environment_stays_although_it_is_too_large(cache: EnvironmentCache) -> None:
    make(cache, "aa", size=1000)
    assert cache.prune(max_size=10) == []


def test_leftovers_of_killed_makers_are_pruned_but_not_those_of_living_ones(cache: EnvironmentCache) -> None:
    left = cache.folder / ".aa.123456789.new"
    left.mkdir()
    busy = cache.folder / ".bb.123456789.new"
    busy.mkdir()
    with cache.making("bb"):
        cache.prune()
        assert not left.exists()
        assert busy.exists()
    cache.prune()
    assert not busy.exists()


def test_the_limits_are_those_that_the_command_names() -> None:
    assert (module.MAX_AGE, module.MAX_SIZE) == (30 * 86400.0, 20 * 10**9)
