"""Runs a program that says ``import parsl`` on parslab: ``python -m parslab.parsl program.py [ARGUMENTS]``.

``-m MODULE`` and ``-c CODE`` are as for Python itself.
"""

from __future__ import annotations

import os
import runpy
import sys
from types import ModuleType

from parslab.parsl import install_as_parsl

__all__ = ["main"]

_USAGE = "usage: python -m parslab.parsl [-m MODULE | -c CODE | PROGRAM] [ARGUMENTS]"


def main(arguments: list[str]) -> None:
    """Run the program that the command line names, as Python would."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE, file=sys.stdout if arguments else sys.stderr)
        raise SystemExit(0 if arguments else 2)
    install_as_parsl()
    first, rest = arguments[0], arguments[1:]
    if first in ("-m", "-c") and not rest:
        print(_USAGE, file=sys.stderr)
        raise SystemExit(2)
    if first == "-m":
        sys.argv[:] = rest  # runpy replaces the first one by the path of the module
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv[:] = ["-c", *rest[1:]]
        _run(rest[0], "<string>")
    else:
        sys.argv[:] = arguments
        # Python itself puts the folder of a program there, and programs import their neighbours.
        sys.path[0] = os.path.dirname(os.path.abspath(first))
        try:
            with open(first, "rb") as file:
                text = file.read()
        except OSError as error:
            print(f"parslab: {first} cannot be read: {error.strerror or error}.", file=sys.stderr)
            raise SystemExit(2) from None
        _run(text, first)


def _run(text: str | bytes, path: str) -> None:
    """Run the text of a program as ``__main__``."""
    # Not runpy.run_path: its __main__ ends with the program, and functions that run at exit still need it.
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__dict__.update(__builtins__=__builtins__, __file__=path, __cached__=None)
    exec(compile(text, path, "exec"), main.__dict__)


if __name__ == "__main__":
    main(sys.argv[1:])
