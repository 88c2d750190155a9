"""Send the rich output of a cell from its worker to the notebook: ``display()`` and ``plt.show()`` as MIME bundles.

A worker has no IPython shell. :func:`bundle_of` asks an object for its representations as IPython does.
:func:`publish` writes the bundle to the worker's standard output, which keeps it in order with the printed text.
Outside of a worker it prints the plain text. ``cell`` calls this module, and so does matplotlib through
``MPLBACKEND``.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from typing import Any

__all__ = [
    "MATPLOTLIB_BACKEND",
    "bundle_of",
    "clear_output",
    "display",
    "instead_of",
    "publish",
    "show_figures",
    "teach_ipython",
]

MATPLOTLIB_BACKEND = "module://parslab.bodies.matplotlib_backend"
LARGEST = 8 * 1024 * 1024
"""The most bytes of one bundle as JSON; plain text replaces a larger one."""

_TEXTS = {
    "_repr_html_": "text/html",
    "_repr_markdown_": "text/markdown",
    "_repr_svg_": "image/svg+xml",
    "_repr_latex_": "text/latex",
    "_repr_json_": "application/json",
    "_repr_javascript_": "application/javascript",
}
_BINARIES = {"_repr_png_": "image/png", "_repr_jpeg_": "image/jpeg", "_repr_pdf_": "application/pdf"}


def bundle_of(value: Any) -> dict[str, Any]:
    """Return the MIME bundle of a value without the representations that fail, as IPython does."""
    data: dict[str, Any] = {}
    whole = _asked(value, "_repr_mimebundle_")
    if isinstance(whole, tuple):
        whole = whole[0]
    if isinstance(whole, dict):
        data.update(whole)
    if "text/plain" not in data:
        try:
            data["text/plain"] = repr(value)
        except Exception as error:
            data["text/plain"] = f"<{type(value).__name__}, whose text cannot be made: {type(error).__name__}>"
    for method, mime in (_TEXTS | _BINARIES).items():
        if mime not in data:
            found = _asked(value, method)
            if isinstance(found, tuple):  # with metadata
                found = found[0]
            if found is not None:
                data[mime] = found
    if "image/png" not in data and _is_figure(value):
        data["image/png"] = _png(value)
    return {mime: _as_text(part) for mime, part in data.items()}


def _asked(value: Any, method: str) -> Any:
    if isinstance(value, type):  # the methods of a class object belong to its instances
        return None
    try:
        call = getattr(value, method, None)
        return call() if callable(call) else None
    except Exception:
        return None


def _as_text(part: Any) -> Any:
    return base64.b64encode(part).decode("ascii") if isinstance(part, (bytes, bytearray, memoryview)) else part


def _is_figure(value: Any) -> bool:
    module = sys.modules.get("matplotlib.figure")  # no import: a value can be a figure only if matplotlib is loaded
    return module is not None and isinstance(value, module.Figure)


def _png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", bbox_inches="tight")
    return stream.getvalue()


def publish(message: dict[str, Any]) -> None:
    """Send one message of rich output: ``{"data": bundle}`` or ``{"clear": wait}``."""
    # Not sys.stdout, which the code of the user may have redirected.  A worker has its own object in sys.__stdout__.
    show = getattr(sys.__stdout__, "show", None)
    data = message.get("data")
    if data is not None and (show is None or data.keys() <= {"text/plain"}):
        print(data.get("text/plain", ""))
        return
    if show is None:
        return
    # Text that was printed before must arrive before the bundle.
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        text = json.dumps(message, separators=(",", ":"))
    except (TypeError, ValueError):  # a representation is not JSON
        text = json.dumps({"data": {"text/plain": message["data"].get("text/plain", "")}})
    if len(text) > LARGEST:
        plain = str(message["data"].get("text/plain", ""))[:10_000]
        text = json.dumps({"data": {"text/plain": f"{plain}\n[its picture of {len(text)} bytes is too large to send]"}})
    show(text.encode("ascii", errors="backslashreplace"))


def display(*objects: Any, raw: bool = False, clear: bool = False, **_: Any) -> None:
    """Show objects under the cell, as IPython's ``display`` does; ignore options that need a shell."""
    if clear:
        clear_output(wait=True)
    for value in objects:
        publish({"data": value if raw and isinstance(value, dict) else bundle_of(value)})


def clear_output(wait: bool = False) -> None:
    """Remove the output of the cell, at once or (with ``wait``) when the next output arrives."""
    publish({"clear": bool(wait)})


def show_figures() -> None:
    """Show all open figures of matplotlib and close them; do nothing if pyplot is not imported."""
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return
    for number in pyplot.get_fignums():
        figure = pyplot.figure(number)
        publish({"data": {"text/plain": repr(figure), "image/png": _as_text(_png(figure))}})
    pyplot.close("all")  # the next cell on this worker must not show them again


def instead_of(value: Any) -> Any:
    """Return our function in place of one of IPython's; return any other value unchanged."""
    if getattr(value, "__module__", None) == "IPython.core.display_functions":
        return _OURS.get(getattr(value, "__name__", ""), value)
    return value


def teach_ipython() -> None:
    """Replace ``display`` and ``clear_output`` of IPython, which only print text when no shell exists."""
    import IPython.core.display_functions
    import IPython.display

    for module in (IPython.display, IPython.core.display_functions):
        for name, function in _OURS.items():
            setattr(module, name, function)


_OURS = {"display": display, "clear_output": clear_output}
