"""The command lines of all container engines that parslab starts."""

from __future__ import annotations

import pytest

from parslab.remote.software.engines import ENGINES, Mount, removes_container
from parslab.testing.conformance import ContainerEngineSuite

INSIDE = ("-c", "code", "/link")


class TestPodman(ContainerEngineSuite):
    engine = ENGINES["podman"]
    words = (
        *("/opt/bin/podman", "run", "--rm", "--name", "parslab-w-0", "--ipc=host", "--security-opt=label=disable"),
        *("--userns=keep-id", "--volume=/home/ada:/home/ada", "--volume=/lib/ours:/packages:ro", "--workdir=/home/ada"),
        *("--entrypoint=/opt/python", "--one", "--two=2", "site/solver:2", *INSIDE),
    )


class TestDocker(ContainerEngineSuite):
    engine = ENGINES["docker"]
    words = (
        *("/opt/bin/docker", "run", "--rm", "--name", "parslab-w-0", "--ipc=host", "--security-opt=label=disable"),
        *("--user=1000:100", "--volume=/home/ada:/home/ada", "--volume=/lib/ours:/packages:ro", "--workdir=/home/ada"),
        *("--entrypoint=/opt/python", "--one", "--two=2", "site/solver:2", *INSIDE),
    )


class TestApptainer(ContainerEngineSuite):
    engine = ENGINES["apptainer"]
    words = (
        *("/opt/bin/apptainer", "exec", "--cleanenv", "--bind", "/home/ada:/home/ada", "--bind"),
        *("/lib/ours:/packages:ro", "--pwd", "/home/ada", "--one", "--two=2", "docker://site/solver:2", "/opt/python"),
        *INSIDE,
    )


class TestSingularity(ContainerEngineSuite):
    engine = ENGINES["singularity"]
    words = ("/opt/bin/singularity", *TestApptainer.words[1:])


class TestShifter(ContainerEngineSuite):
    engine = ENGINES["shifter"]
    words = (
        *("/opt/bin/shifter", "--image=docker:site/solver:2", "--volume=/home/ada:/home/ada;/lib/ours:/packages"),
        *("--workdir=/home/ada", "--one", "--two=2", "/opt/python", *INSIDE),
    )


@pytest.mark.parametrize(
    ("image", "located"),
    [
        ("python:3.11", "docker://python:3.11"),
        ("host:5000/a/b", "docker://host:5000/a/b"),
        ("docker://python:3.11", "docker://python:3.11"),
        ("oras://site/image", "oras://site/image"),
        ("/images/solver.sif", "/images/solver.sif"),
        ("solver.sif", "solver.sif"),
    ],
)
def test_apptainer_is_told_where_an_image_is(image: str, located: str) -> None:
    assert ENGINES["apptainer"].pull("apptainer", image) == ["apptainer", "exec", located, "true"]


def test_root_needs_no_option_for_its_files() -> None:
    suite = TestDocker()
    assert not any("--user" in word for word in suite.engine.start(suite.container(), "n", ["-c"], 0, 0))


def test_shifter_fetches_with_the_command_beside_it() -> None:
    assert ENGINES["shifter"].pull("/opt/bin/shifter", "a:1") == ["/opt/bin/shifterimg", "pull", "docker:a:1"]


def test_mounts_are_read_as_engines_write_them() -> None:
    assert Mount.parse("/a") == Mount("/a", "/a")
    assert Mount.parse("/a:/b") == Mount("/a", "/b")
    assert Mount.parse("/a:/b:ro") == Mount("/a", "/b", True)


def test_the_helper_that_removes_a_container_of_ours_is_known() -> None:
    assert removes_container(b"/usr/bin/conmon\0-c\x00123\0-n\0parslab-llex-2-ab\0")
    assert not removes_container(b"/usr/bin/conmon\0-c\x00123\0-n\0database\0")
    assert removes_container(b"podman\0container\0cleanup\0--rm\x00123\0")
    assert not removes_container(b"sleep\x003\0")
