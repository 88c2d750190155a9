"""Returns the addresses of buffers in the memory of this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parslab.wire.shared_memory import PlainBuffer

__all__ = ["address_of"]


def address_of(buffer: PlainBuffer) -> int:
    """Return the address of a buffer."""
    # Imported here: only processes that see large values need it.
    import ctypes

    # ``Py_buffer`` begins with the address; 256 bytes are more than it has in any version.
    view = (ctypes.c_void_p * 32)()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(buffer), view, 0)
    address: int = view[0] or 0
    ctypes.pythonapi.PyBuffer_Release(view)
    return address
