"""Read compiled code, without file names, line numbers and formatting.

[core] ``fingerprint`` takes terms of code from here, ``captured_state`` the names that code reads. A term is a tuple
that is the same in every process of one version of Python. So it leaves out the order of names that the compiler
takes from hashes, and the line number of a class.
"""

from __future__ import annotations

import dis
import types
from typing import Any

__all__ = ["code_term", "global_names", "imported_names", "nested"]

_OP = dis.opmap
_LOADS_CONST = frozenset(dis.hasconst)
_EXTENDED = dis.EXTENDED_ARG
_READS = frozenset(_OP[name] for name in ("LOAD_GLOBAL", "LOAD_NAME"))
_SHIFTED = "LOAD_GLOBAL" in _OP and hasattr(types.CodeType, "co_exceptiontable")
"""Whether the lowest bit of LOAD_GLOBAL's argument does not belong to the name: since Python 3.11."""
_IMPORT = _OP["IMPORT_NAME"]
_STORE = _OP["STORE_NAME"]
_HAS_DOCSTRING = 0x4000000
"""A flag of Python 3.14 and later. It does not change the behaviour of a function."""
_OF_PLACE = frozenset({"__firstlineno__", "__static_attributes__"})
"""Names that the body of a class stores since Python 3.13: its line, and attributes in the order of their hashes."""


def nested(code: types.CodeType) -> list[types.CodeType]:
    """Return the code objects that this one contains."""
    return [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]


def global_names(code: types.CodeType, codes: list[types.CodeType]) -> list[str]:
    """Return the global names that code and nested code read; append each visited code object to ``codes``."""
    codes.append(code)
    names = []
    for opcode, argument in _instructions(code.co_code):
        if opcode in _READS:
            shifted = _SHIFTED and opcode == _OP["LOAD_GLOBAL"]
            names.append(code.co_names[argument >> 1 if shifted else argument])
    for inner in nested(code):
        names += global_names(inner, codes)
    return list(dict.fromkeys(names))


def imported_names(code: types.CodeType, package: str = "") -> list[str]:
    """Return the full names of what the code imports: modules, and names ``from`` modules, in order.

    Parameters
    ----------
    package
        The package that relative imports start from. Without one they are left out.
    """
    names: list[str] = []
    if _IMPORT in code.co_code[::2]:
        before: list[Any] = []
        for step in dis.get_instructions(code):
            if step.opcode == _IMPORT:
                # The compiler loads two constants before each import: the level of a relative import, and the names
                # after ``from``.
                level, wanted = (before[-2], before[-1]) if len(before) > 1 else (0, None)
                names += _full_names(step.argval, level, wanted, package)
            elif step.opname.startswith("LOAD_"):
                before.append(step.argval)
    for inner in nested(code):
        names += imported_names(inner, package)
    return list(dict.fromkeys(names))


def _full_names(name: str, level: Any, wanted: Any, package: str) -> list[str]:
    if isinstance(level, int) and level > 0:
        base = package.rsplit(".", level - 1)[0] if level > 1 else package
        if not base:
            return []
        name = f"{base}.{name}" if name else base
    return [name, *(f"{name}.{item}" for item in (wanted if isinstance(wanted, tuple) else ()) if item != "*")]


def _instructions(code: bytes) -> list[tuple[int, int]]:
    """Return (opcode, argument) of each instruction, including the inline caches, which no caller asks for."""
    if _EXTENDED not in code[::2]:
        return list(zip(code[::2], code[1::2], strict=True))
    found, extended = [], 0
    for opcode, argument in zip(code[::2], code[1::2], strict=True):
        argument |= extended
        extended = argument << 8 if opcode == _EXTENDED else 0
        found.append((opcode, argument))
    return found


def code_term(code: types.CodeType) -> tuple[Any, ...]:
    """Return a code object as a term.

    A docstring does not count: the compiler puts it first among the constants, and no instruction reads it.
    """
    instructions, constants = code.co_code, list(code.co_consts)
    if not _OF_PLACE.isdisjoint(code.co_names):
        instructions, constants = _without_place(code, constants)
    if constants and isinstance(constants[0], str) and not _reads(instructions, 0):
        constants[0] = None
    return (
        instructions,
        tuple(_constant(constant) for constant in constants),
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_flags & ~_HAS_DOCSTRING,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        getattr(code, "co_exceptiontable", b""),
    )


def _reads(instructions: bytes | bytearray, constant: int) -> bool:
    """Return whether an instruction reads a constant."""
    # Only the last byte of a long argument is compared. A wrong yes keeps a docstring in the term, which is harmless.
    return any(
        argument == constant and opcode in _LOADS_CONST
        for opcode, argument in zip(instructions[::2], instructions[1::2], strict=True)
    )


def _without_place(code: types.CodeType, constants: list[Any]) -> tuple[bytes, list[Any]]:
    """Instructions and constants of a class body without its line and without the names in the order of hashes."""
    instructions = bytearray(code.co_code)
    for at in range(2, len(instructions), 2):
        if instructions[at] == _STORE and code.co_names[instructions[at + 1]] in _OF_PLACE:
            # The instruction before the store loads the value that differs.
            opcode, argument = instructions[at - 2 : at]
            instructions[at - 2 : at] = b"\0\0"
            # The code of the user may read the same constant, which must then count.
            if opcode in _LOADS_CONST and not _reads(instructions, argument):
                constants[argument] = None
    return bytes(instructions), constants


def _constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return {"code": code_term(value)}
    if isinstance(value, tuple):
        return tuple(_constant(item) for item in value)
    if isinstance(value, frozenset):
        # The order of the items follows the hashes of strings, which Python changes in each process.
        return {"set": sorted((_constant(item) for item in value), key=lambda item: (type(item).__name__, repr(item)))}
    if isinstance(value, slice):
        return {"slice": (_constant(value.start), _constant(value.stop), _constant(value.step))}
    return value
