"""Launchers of users with Parsl's method: ``launcher(command, tasks_per_node, nodes_per_block)``.

Such a launcher may be defined in a script or notebook, which the DataFlowKernel process cannot import.  So the client
calls it once at the load, with words that stand for the command, and sends the text that it returns.
"""

from __future__ import annotations

import re

from parslab.description import Text
from parslab.errors import ConfigurationError
from parslab.launchers.base import Launcher

__all__ = ["TextLauncher", "as_text"]

_STAND_IN = "parslab-manager the-block-of-this-job"
"""Stands for the command in the text; with a blank, so that a launcher that quotes the command quotes these words."""

_PLAIN = re.compile(r"[\w@%+=:,./${} -]*")
"""Commands that mean the same inside any kind of quotes; the shell may expand their variables at any time."""


class TextLauncher(Launcher):
    """The text that a launcher of a user has made.

    Parameters
    ----------
    text
        The text, with words that stand for the command.
    """

    text = Text("", empty=True)

    def script(self, command: str, nodes: int, tasks_per_node: int = 1) -> str:
        if not _PLAIN.fullmatch(command):
            raise ConfigurationError(
                f"The command of a block contains quotes ({command}), which a launcher of a user may put into other "
                "quotes: choose paths of Python and of the run folder without blanks."
            )
        if re.match(r"\w+=", command):
            command = f"env {command}"  # a program that runs its arguments would look for one named A=1
        return str(self.text).replace(_STAND_IN, command)


def as_text(launcher: Launcher, nodes: int) -> Launcher:
    """Return a launcher that the DataFlowKernel process can use: the same one, or the text that it makes.

    Raises
    ------
    ConfigurationError
        The launcher fails, or what it returns does not contain the command.
    """
    if type(launcher).__call__ is Launcher.__call__:
        return launcher
    name = type(launcher).__name__
    try:
        text = launcher(_STAND_IN, 1, nodes)
    except Exception as error:  # whatever the user's code raises
        raise ConfigurationError(
            f"{name}(command, tasks_per_node=1, nodes_per_block={nodes}) failed: {type(error).__name__}: {error}."
        ) from error
    if not isinstance(text, str) or _STAND_IN not in text:
        raise ConfigurationError(f"{name} must return shell text that contains the command, not {text!r}.")
    return TextLauncher(text=text)
