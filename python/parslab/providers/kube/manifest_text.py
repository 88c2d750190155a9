"""Writes objects of Kubernetes as text that ``kubectl`` takes: YAML where a package for it is there, else JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["manifest_text"]


def manifest_text(objects: Sequence[dict[str, Any]]) -> str:
    """Return the text of these objects."""
    plain = json.loads(json.dumps(objects))  # lists in place of tuples
    try:
        import yaml
    except ImportError:  # the package kubernetes brings it
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": plain}, indent=2) + "\n"

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]
        """Writes texts of several lines as such, so that a script can be read."""

    def text(dumper: Any, value: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    return str(yaml.dump_all(plain, Dumper=Dumper, sort_keys=False, width=1000, explicit_start=True))
