"""The graph of a run as text of Graphviz and of Mermaid.  [core]"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.records.states import TASK_STATES, TaskGroup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.monitoring.export.reading import ExportedRun
    from parslab.monitoring.store.tables import StoredTask

__all__ = ["as_dot", "as_mermaid"]

_GROUPS = {state.name: info.group for state, info in TASK_STATES.items()}
_FILLS = {
    TaskGroup.waiting: "#ffffff",
    TaskGroup.active: "#cfe2f3",
    TaskGroup.succeeded: "#d9ead3",
    TaskGroup.failed: "#f4cccc",
    TaskGroup.cancelled: "#e0e0e0",
}
"""A colour for each kind of state; the text beside it says the same, for who cannot tell the colours apart."""


def _group(task: StoredTask) -> TaskGroup:
    return _GROUPS.get(task.state, TaskGroup.waiting)


def as_dot(run: ExportedRun) -> Iterator[str]:
    """Yield the lines of a Graphviz file: ``dot -Tsvg`` draws it.

    Parameters
    ----------
    run
        The run.
    """
    yield f'digraph "{_escaped(run.name)}" {{\n'
    yield '  node [shape=box, style="rounded,filled", fontname="sans-serif"];\n'
    for task in run.tasks():
        label = f"{_escaped(task.app)}\\n{task.id}: {_escaped(task.state)}"
        tooltip = _escaped(task.error or task.shown)
        yield f'  t{task.id} [label="{label}", fillcolor="{_FILLS[_group(task)]}", tooltip="{tooltip}"];\n'
    for task_id, dep in run.edges():
        yield f"  t{dep} -> t{task_id};\n"
    yield "}\n"


def as_mermaid(run: ExportedRun) -> Iterator[str]:
    """Yield the lines of a Mermaid flowchart, which Markdown cells of JupyterLab draw.

    Parameters
    ----------
    run
        The run.
    """
    yield "flowchart TD\n"
    for group, colour in _FILLS.items():
        yield f"  classDef {group} fill:{colour},stroke:#555,color:#000\n"
    for task in run.tasks():
        yield f'  t{task.id}("{_entities(task.app)}<br/>{task.id}: {_entities(task.state)}"):::{_group(task)}\n'
    for task_id, dep in run.edges():
        yield f"  t{dep} --> t{task_id}\n"


def _escaped(text: str) -> str:
    """Return text for a string of Graphviz in double quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("\0", "")


_ENTITIES = str.maketrans(
    {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;", "\n": " ", "\0": ""}
)


def _entities(text: str) -> str:
    """Return text that Mermaid shows as it is."""
    return text.translate(_ENTITIES)
