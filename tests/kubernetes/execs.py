"""The ``exec`` of the stand-in for a cluster: a websocket to a command that runs beside the processes of a pod."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import struct
import subprocess
import threading
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Sequence
    from http.server import BaseHTTPRequestHandler

__all__ = ["serve_exec"]

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BINARY, _CLOSE, _PING = 2, 8, 9


def serve_exec(handler: BaseHTTPRequestHandler, command: Sequence[str], environment: dict[str, str]) -> None:
    """Answer a request for a websocket, and run the command until it ends or the other side has gone."""
    key = handler.headers["Sec-WebSocket-Key"]
    handler.send_response(101)
    handler.send_header("Upgrade", "websocket")
    handler.send_header("Connection", "Upgrade")
    accepted = hashlib.sha1(f"{key}{_GUID}".encode(), usedforsecurity=False).digest()
    handler.send_header("Sec-WebSocket-Accept", base64.b64encode(accepted).decode())
    handler.send_header("Sec-WebSocket-Protocol", "v4.channel.k8s.io")
    handler.end_headers()
    handler.close_connection = True
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, bufsize=0, start_new_session=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdin is not None
        lock = threading.Lock()

        def send(channel: int, data: bytes) -> None:
            with lock, contextlib.suppress(OSError):
                handler.wfile.write(_frame(bytes([channel]) + data))

        def pump(channel: int, source: BinaryIO) -> None:
            while data := os.read(source.fileno(), 1 << 16):
                send(channel, data)

        pumps = [
            threading.Thread(target=pump, args=(channel, source), daemon=True)
            for channel, source in ((1, process.stdout), (2, process.stderr))
        ]
        for thread in pumps:
            thread.start()
        reader = threading.Thread(target=_read, args=(handler.rfile, process.stdin), daemon=True)
        reader.start()
        status = process.wait()
        for thread in pumps:
            thread.join(5)
        send(3, json.dumps(_status(status)).encode())
        with contextlib.suppress(OSError):
            handler.wfile.write(bytes([0x80 | _CLOSE, 0]))


def _status(status: int) -> dict[str, object]:
    if not status:
        return {"status": "Success"}
    causes = [{"reason": "ExitCode", "message": f"{status}"}]
    return {"status": "Failure", "message": "command terminated", "details": {"causes": causes}}


def _read(source: BinaryIO, stdin: BinaryIO) -> None:
    """Give what arrives to the command; the end of the connection is the end of its stdin."""
    with contextlib.suppress(OSError, struct.error):
        while (message := _message(source)) is not None:
            left = memoryview(message[1:])
            while left:
                left = left[stdin.write(left) or 0 :]
    with contextlib.suppress(OSError):
        stdin.close()


def _message(source: BinaryIO) -> bytes | None:
    """Return the next message; None at the end.  The client sends each one in a frame of its own."""
    while True:
        head = source.read(2)
        if len(head) < 2 or head[0] & 15 == _CLOSE:
            return None
        size = head[1] & 127
        if size > 125:
            size = struct.unpack(">H" if size == 126 else ">Q", source.read(2 if size == 126 else 8))[0]
        mask, data = source.read(4), source.read(size)
        if head[0] & 15 == _BINARY and data:
            keys = (mask * (size // 4 + 1))[:size]
            return (int.from_bytes(data, "big") ^ int.from_bytes(keys, "big")).to_bytes(size, "big")


def _frame(data: bytes) -> bytes:
    size = len(data)
    if size < 126:
        return bytes([0x80 | _BINARY, size]) + data
    if size < 1 << 16:
        return struct.pack(">BBH", 0x80 | _BINARY, 126, size) + data
    return struct.pack(">BBQ", 0x80 | _BINARY, 127, size) + data
