"""Generate TypeScript for the panel protocol and the task states, so that each is declared once, in Python.

``python -m parslab.jupyter.typescript`` prints the text of ``labextension/src/protocol.ts``; with a path it writes that
file.  Only developers call it.  ``tests/unit/jupyter/test_typescript.py`` fails if the committed file differs from this
text.  Docstrings of structs and fields become comments.  Structs that a front end sends may leave out fields that have
a default; structs that it receives always have all of their fields.
"""

from __future__ import annotations

import ast
import inspect
import sys
import types
import typing
from pathlib import Path

import msgspec

from parslab.records import panel, states

if typing.TYPE_CHECKING:
    from enum import Enum

__all__ = ["typescript"]

_PLAIN = {int: "number", float: "number", str: "string", bool: "boolean", type(None): "null"}

_State = typing.TypeVar("_State", bound="Enum")

_HEAD = """\
/**
 * The panel protocol. Generated from python/parslab/records by
 * `python -m parslab.jupyter.typescript labextension/src/protocol.ts`: do not edit.
 */
import type { TranslationBundle } from '@jupyterlab/translation';
"""


def typescript() -> str:
    """Return the text of ``protocol.ts``.

    Examples
    --------
    >>> "export interface ISnapshot" in typescript()
    True
    """
    docs = _docstrings(Path(inspect.getfile(panel)).read_text())
    requests = typing.get_args(panel.Request)
    structs = [
        thing
        for thing in vars(panel).values()
        if isinstance(thing, type) and issubclass(thing, msgspec.Struct) and thing.__name__ in panel.__all__
    ]
    parts = [_HEAD, _task_states(), _constants(docs)]
    parts += [_struct(struct, docs, optional=struct in requests) for struct in structs]
    parts += [_union("Request", requests), _union("Reply", typing.get_args(panel.Reply))]
    return "\n".join(parts)


def _docstrings(source: str) -> dict[str, str]:
    """Map ``Class``, ``Class.field`` and ``NAME`` to the docstring in it or below it."""
    # From the source, because Python does not keep the strings below fields and constants.
    found: dict[str, str] = {}

    def walk(body: list[ast.stmt], prefix: str) -> None:
        for statement, below in zip(body, [*body[1:], None], strict=True):
            if isinstance(statement, ast.ClassDef):
                found[statement.name] = ast.get_docstring(statement) or ""
                walk(statement.body, f"{statement.name}.")
                continue
            target = statement.target if isinstance(statement, ast.AnnAssign) else None
            if isinstance(statement, ast.Assign):
                target = statement.targets[0]  # type: ignore[assignment]
            if isinstance(target, ast.Name) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                found[prefix + target.id] = inspect.cleandoc(str(below.value.value))

    walk(ast.parse(source).body, "")
    return found


def _comment(text: str, indent: str = "") -> str:
    if not text:
        return ""
    lines = text.splitlines()
    if len(lines) == 1:
        return f"{indent}/** {lines[0]} */\n"
    middle = "".join(f"{indent} * {line}".rstrip() + "\n" for line in lines)
    return f"{indent}/**\n{middle}{indent} */\n"


def _task_states() -> str:
    """Return ``TASK_STATES`` as a TypeScript table, the states of the other machines, and texts for the translator."""
    docs = _docstrings(Path(inspect.getfile(states)).read_text())
    out = _literals("TaskState", docs["TaskState"], [state.name for state in states.TASK_STATES])
    out += _literals("TaskGroup", docs["TaskGroup"], [group.value for group in states.TaskGroup])
    out += _literals("Shape", docs["Shape"], typing.get_args(states.Shape))
    out += _literals("Hue", docs["Hue"], typing.get_args(states.Hue))
    out += """/** What one task state means, and how it looks. */
export interface ITaskStateInfo {
  group: TaskGroup;
  /** Whether a task stays in this state unless it is reopened. */
  final: boolean;
  /** Whether the body of the task has begun: such states have solid symbols. */
  has_run: boolean;
  shape: Shape;
  hue: Hue;
}

"""
    out += _comment(docs["TASK_STATES"])
    out += "export const TASK_STATES: Readonly<Record<TaskState, ITaskStateInfo>> = {\n"
    out += ",\n".join(f"  {state.name}: {_state_info(info)}" for state, info in states.TASK_STATES.items()) + "\n};\n"
    for name, members in (("FINAL", states.FINAL), ("SUCCESSES", states.SUCCESSES), ("FAILURES", states.FAILURES)):
        listed = ", ".join(f"'{state.name}'" for state in states.TASK_STATES if state in members)
        out += "\n" + _comment(docs[name]) + f"export const {name}: readonly TaskState[] = [{listed}];\n"
    labels = {state: info.label for state, info in states.TASK_STATES.items()}
    sentences = {state: info.sentence for state, info in states.TASK_STATES.items()}
    out += _translated("taskStateLabels", "What each task state is called.", labels)
    out += _translated("taskStateSentences", "What each task state means: sentences about the task.", sentences)
    machines = (states.BlockState, states.ManagerState, states.WorkerState)
    out += "".join(_meanings(machine, docs) for machine in machines)
    out += _subset("ENDED_BLOCK_STATES", docs["ENDED"], states.ENDED)
    return out + _subset("DEPARTED_MANAGER_STATES", docs["DEPARTED"], states.DEPARTED)


def _literals(name: str, doc: str, values: typing.Sequence[str]) -> str:
    return _comment(doc) + f"export type {name} =\n" + "\n".join(f"  | '{value}'" for value in values) + ";\n\n"


def _state_info(info: states.TaskStateInfo) -> str:
    flags = f"final: {str(info.final).lower()}, has_run: {str(info.has_run).lower()}"
    return f"{{ group: '{info.group}', {flags}, shape: '{info.shape}', hue: '{info.hue}' }}"


def _translated(name: str, doc: str, texts: dict[states.TaskState, str]) -> str:
    """Return a function that translates the text of each state; tools extract the texts from its literals."""
    head = f"export function {name}(trans: TranslationBundle): Record<TaskState, string> {{\n  return {{\n"
    body = ",\n".join(f"    {state.name}: trans.__({_quoted(text)})" for state, text in texts.items())
    return "\n" + _comment(doc) + head + body + "\n  };\n}\n"


def _subset(name: str, doc: str, members: frozenset[_State]) -> str:
    """Return a constant that lists these states of one machine, in the order of the machine."""
    machine = type(next(iter(members)))
    listed = ", ".join(f"'{state.name}'" for state in machine if state in members)
    return "\n" + _comment(doc) + f"export const {name}: readonly {machine.__name__}[] = [{listed}];\n"


def _meanings(machine: type[Enum], docs: dict[str, str]) -> str:
    """Return the states of a block, manager or worker, and the meaning of each."""
    name = machine.__name__
    constant = f"{name.removesuffix('State').upper()}_MEANING"
    out = "\n" + _comment(docs[name]) + f"export type {name} = " + " | ".join(f"'{state.name}'" for state in machine)
    out += f";\n\n/** What each state means. */\nexport const {constant}: Readonly<Record<{name}, string>> = {{\n"
    out += ",\n".join(f"  {state.name}: {_quoted(docs[f'{name}.{state.name}'])}" for state in machine)
    return out + "\n};\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", " ") + "'"


def _constants(docs: dict[str, str]) -> str:
    names = [name for name in panel.__all__ if name.isupper()]
    return "\n".join(_comment(docs[name]) + f"export const {name} = {getattr(panel, name):g};\n" for name in names)


def _struct(struct: type[msgspec.Struct], docs: dict[str, str], *, optional: bool) -> str:
    name = struct.__name__
    hints = typing.get_type_hints(struct)
    fields = msgspec.structs.fields(struct)
    head = _comment(docs[name])
    if struct.__struct_config__.array_like:
        inside = ", ".join(f"{field.name}: {_type(hints[field.name])}" for field in fields)
        return f"{head}export type {name} = [{inside}];\n"
    out = f"{head}export interface I{name} {{\n"
    if struct.__struct_config__.tag is not None:
        out += f"  type: '{struct.__struct_config__.tag}';\n"
    for field in fields:
        out += _comment(docs.get(f"{name}.{field.name}", ""), "  ")
        mark = "?" if optional and not field.required else ""
        out += f"  {field.name}{mark}: {_type(hints[field.name])};\n"
    return out + "}\n"


def _type(hint: object) -> str:
    if isinstance(hint, type) and hint in _PLAIN:
        return _PLAIN[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " | ".join(f"'{argument}'" for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_type(argument) for argument in arguments)
    if origin is list:
        inner = _type(arguments[0])
        return f"({inner})[]" if "|" in inner else f"{inner}[]"
    if origin is tuple:
        return f"[{', '.join(_type(argument) for argument in arguments)}]"
    if origin is dict:
        return f"Record<{_type(arguments[0])}, {_type(arguments[1])}>"
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint.__name__ if hint.__struct_config__.array_like else f"I{hint.__name__}"
    raise TypeError(f"no TypeScript for {hint!r}")


def _union(name: str, members: tuple[type, ...]) -> str:
    return f"export type {name} =\n" + "\n".join(f"  | I{member.__name__}" for member in members) + ";\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(typescript())
    else:
        sys.stdout.write(typescript())
