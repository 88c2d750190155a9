"""The test suite that every container engine must pass; it reads command lines and starts no container.

A member of the family makes a subclass in a test file of its own; pytest finds the rest::

    class TestPodman(ContainerEngineSuite):
        engine = ENGINES["podman"]
        words = ("podman", "run", ...)

This module needs pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from parslab.remote.software.engines import ContainerStart, Mount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.remote.software.engines import ContainerEngine

__all__ = ["ContainerEngineSuite"]


class ContainerEngineSuite:
    """The suite of a container engine.

    Attributes
    ----------
    engine : ContainerEngine
        The engine.
    words : sequence of str
        The command that starts the container of :meth:`container` as user 1000 and group 100, word for word.
    """

    engine: ClassVar[ContainerEngine]
    words: ClassVar[Sequence[str]]

    def container(self) -> ContainerStart:
        """Return a container with one of everything."""
        return ContainerStart(
            engine=self.engine.name,
            program=f"/opt/bin/{self.engine.name}",
            image="site/solver:2",
            python="/opt/python",
            mounts=(Mount("/home/ada", "/home/ada"), Mount("/lib/ours", "/packages", True)),
            folder="/home/ada",
            options=("--one", "--two=2"),
        )

    def command(self) -> list[str]:
        """Return the command that starts the container of the suite."""
        return self.engine.start(self.container(), "parslab-w-0", ["-c", "code", "/link"], 1000, 100)

    def test_the_command_is_the_one_that_the_engine_documents(self) -> None:
        """The command has the words that the member names."""
        assert self.command() == list(self.words)

    def test_the_arguments_of_the_interpreter_are_last_and_whole(self) -> None:
        """The interpreter gets its arguments in their order, after everything that is for the engine."""
        command = self.command()
        assert command[0] == "/opt/bin/" + self.engine.name
        assert command[-3:] == ["-c", "code", "/link"]
        assert any("/opt/python" in word for word in command)

    def test_options_of_the_user_are_in_front_of_the_interpreter(self) -> None:
        """The options of the user belong to the engine."""
        command = self.command()
        assert command.index("--one") < command.index("--two=2") < command.index("-c")

    def test_every_folder_is_mounted(self) -> None:
        """The command names source and target of every mount."""
        text = " ".join(self.command())
        assert "/home/ada:/home/ada" in text
        assert "/lib/ours:/packages" in text

    def test_an_image_that_is_not_there_can_be_fetched(self) -> None:
        """Both commands name the image."""
        present = self.engine.present("/opt/bin/x", "site/solver:2")
        assert present is None or any("site/solver:2" in word for word in present)
        assert any("site/solver:2" in word for word in self.engine.pull("/opt/bin/x", "site/solver:2"))
