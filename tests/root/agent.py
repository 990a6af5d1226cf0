"""Somebody who is asked about system calls: what a seccomp filter with a listener needs.

Law: seccomp_unotify(2) with numbers from linux/seccomp.h; who asks is not known here.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import struct
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Agent:
    """Who listens: takes what is sent once, and answers every notification with an errno."""

    def __init__(self, path: Path, answer: int) -> None:
        self.path = path
        self.answer = answer
        self.told: dict[str, Any] = {}
        self.asked: list[int] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        with connection:
            data, fds, _, _ = socket.recv_fds(connection, 1 << 16, 1)
            while more := connection.recv(1 << 16):
                data += more
        self.told = json.loads(data)
        (listener,) = fds
        try:
            while self._answer(listener):
                pass
        finally:
            os.close(listener)

    def _answer(self, listener: int) -> bool:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        ((_, events),) = poll.poll()
        if not events & select.POLLIN:
            return False
        # struct seccomp_notif: id, pid, flags, struct seccomp_data (64 bytes)
        notification = bytearray(80)
        fcntl.ioctl(listener, 0xC0502100, notification)
        identity, _, _, nr = struct.unpack_from("=QIIi", notification)
        self.asked.append(nr)
        # struct seccomp_notif_resp: id, val, error, flags
        fcntl.ioctl(listener, 0xC0182101, struct.pack("=QqiI", identity, 0, -self.answer, 0))
        return True

    def close(self) -> None:
        self._server.close()
        self._thread.join(10)
        assert not self._thread.is_alive()


@contextmanager
def agent(folder: Path, answer: int) -> Generator[Agent]:
    one = Agent(folder / "agent", answer)
    try:
        yield one
    finally:
        one.close()
