"""Find the argument of a call that cannot be unpickled.

All arguments travel in one pickle, so an error of pickle does not name the argument. This module reads the opcodes of
the pickle to find where each argument ends. Then it loads ever longer beginnings of the pickle until one fails. It
runs after an error only, so that a call pays nothing for it.
"""

from __future__ import annotations

import pickle
import pickletools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from parslab.wire.stream import Buffer

__all__ = ["argument_at_fault"]


class _Item:
    """An item on the stack of the unpickler: its parts, and where its opcodes end."""

    __slots__ = ("constant", "end", "parts")

    def __init__(self, parts: list[_Item], end: int, constant: Any = None) -> None:
        self.parts, self.end, self.constant = parts, end, constant


def argument_at_fault(stream: bytes, buffers: Sequence[Buffer]) -> str:
    """Return ``argument 1`` or ``argument 'name'`` of pickled ``(args, kwargs)``; ``an argument`` if none is found."""
    try:
        opcodes, arguments = _read(stream)
    except Exception:  # the pickle is damaged
        return "an argument"
    for name, end in arguments:
        try:
            pickle.loads(opcodes[:end] + pickle.STOP, buffers=buffers)
        except Exception:
            return name
    return "an argument"


def _read(stream: bytes) -> tuple[bytes, list[tuple[str, int]]]:
    """Return the pickle without frames, and (name, end) of each argument.

    A frame announces its length, so a pickle that is cut inside a frame cannot be loaded.
    """
    found = [(opcode, constant, at or 0) for opcode, constant, at in pickletools.genops(stream)]
    ends = [*(at for _, _, at in found[1:]), len(stream)]
    opcodes = bytearray()
    stack = _Stack()
    for (opcode, constant, at), end in zip(found, ends, strict=True):
        if opcode.name == "STOP":
            break
        if opcode.name != "FRAME":
            opcodes += stream[at:end]
            stack.step(opcode, constant, len(opcodes))
    args, kwargs = stack.top.parts
    return bytes(opcodes), list(_named(args, kwargs))


class _Stack:
    """The stack of the unpickler, with items in place of values."""

    def __init__(self) -> None:
        self._items: list[_Item | None] = []
        """None is a mark."""
        self._memo: list[_Item] = []

    @property
    def top(self) -> _Item:
        """The uppermost item."""
        item = self._items[-1]
        assert item is not None
        return item

    def step(self, opcode: pickletools.OpcodeInfo, constant: Any, end: int) -> None:
        """Do what an opcode, which ends at ``end``, does to the stack."""
        name = opcode.name
        if name == "MEMOIZE":
            self.top.end = end
            self._memo.append(self.top)
        elif name == "MARK":
            self._items.append(None)
        elif name in ("BINGET", "LONG_BINGET"):
            known = self._memo[constant]
            self._items.append(_Item(known.parts, end, known.constant))
        else:
            parts = self._take(opcode.stack_before)
            if name in _ADDING:
                holder, *items = parts
                parts = [*holder.parts, *items]
            self._items += [_Item(parts, end, constant) for _ in opcode.stack_after]

    def _take(self, before: list[pickletools.StackObject]) -> list[_Item]:
        items, taken = self._items, []
        if pickletools.markobject in before:
            mark = len(items) - 1 - items[::-1].index(None)
            taken = items[mark + 1 :]
            del items[mark:]
            before = before[: before.index(pickletools.markobject)]
        if before:
            taken = items[-len(before) :] + taken
            del items[-len(before) :]
        return [item for item in taken if item is not None]


_ADDING = frozenset({"ADDITEMS", "APPEND", "APPENDS", "SETITEM", "SETITEMS"})
"""Opcodes that add items to a container that is on the stack."""


def _named(args: _Item, kwargs: _Item) -> Iterator[tuple[str, int]]:
    for number, item in enumerate(args.parts):
        yield f"argument {number}", item.end
    for key, item in zip(kwargs.parts[::2], kwargs.parts[1::2], strict=True):
        yield f"argument {key.constant!r}", item.end
