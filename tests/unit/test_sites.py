"""The ready configurations: each builds as it is and with every commented option taken in, and travels."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from parslab.config import Config
from parslab.description import decoded, encoded
from parslab.errors import ConfigurationError
from parslab.executors.base import checked_settings
from parslab.records.executor_settings import EncodedDescription, HighThroughputSettings
from parslab.sites import file_of, named_config, names, summary

if TYPE_CHECKING:
    from pathlib import Path

_OPTION = re.compile(r"^(\s*)# (\w+=.+)$")


def test_there_is_one_for_each_kind_of_place() -> None:
    assert names() == [
        "laptop",
        "big_node",
        "aws",
        "dask_cluster",
        "google",
        "gridengine",
        "htcondor",
        "kubernetes",
        "pbs",
        "slurm",
        "slurm_by_ssh",
        "ssh_hosts",
    ]


@pytest.mark.parametrize("name", names())
def test_it_builds_and_travels(name: str) -> None:
    config = named_config(name)
    assert isinstance(config, Config)
    assert config == named_config(name)
    assert decoded(msgspec.json.decode(msgspec.json.encode(encoded(config)), type=EncodedDescription)) == config
    for executor in config.executors:
        settings = checked_settings(executor)
        assert msgspec.json.decode(msgspec.json.encode(settings), type=type(settings)) == settings
        assert settings.label == executor.label
        if isinstance(settings, HighThroughputSettings):
            assert settings.provider.local is (name in ("big_node", "dask_cluster"))


@pytest.mark.parametrize("name", names())
def test_every_option_that_it_offers_in_a_comment_is_real(name: str, tmp_path: Path) -> None:
    text = file_of(name).read_text(encoding="utf-8")
    taken = [_OPTION.sub(r"\1\2", line) for line in text.splitlines()]
    changed = sum(line != before for line, before in zip(taken, text.splitlines(), strict=True))
    assert changed >= 2, "a file without options to try teaches nothing"
    # An address must be one of this host's, and there is no ib0 here; the option itself is real.
    file = tmp_path / "all_options.py"
    file.write_text("\n".join(taken))
    assert named_config(file) != named_config(name)


@pytest.mark.parametrize("name", names())
def test_it_says_what_it_is_for_and_explains_itself(name: str) -> None:
    text = file_of(name).read_text(encoding="utf-8")
    assert summary(name) == (ast.get_docstring(ast.parse(text)) or "").splitlines()[0]
    assert 30 < len(summary(name)) <= 120
    assert text.count("  # ") >= 1
    assert "config = Config(" in text
    assert "from parslab import" in text


def test_a_name_that_is_none_names_those_that_are() -> None:
    with pytest.raises(
        ConfigurationError, match=r"^There is no ready configuration 'moon'; there are laptop, big_node"
    ):
        named_config("moon")
