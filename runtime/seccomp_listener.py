"""Whom a container's filter asks: the socket at `listenerPath`, and what is sent there.

Law: the caller's side.  The first process cannot do it: the socket is the host's, its own root is
another by then, and sendmsg(2) may be among the calls that somebody is asked about.  So it only
says the number of the descriptor, by write(2), and the caller takes a copy (pidfd_getfd(2)).

Source: config-linux.md "The Container Process State" of the OCI runtime specification 1.2.
"""

from __future__ import annotations

import _socket
import os
import sys

from cgmgr import linux
from cgmgr.errors import KernelError, kernel_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

OPERATION: Final = "hand over the seccomp listener"
#: a listener that does not take what is sent is as good as none
_PATIENCE_S: Final = 10.0
_FD_BYTES: Final = 4
#: the name of the one descriptor
_NAME: Final = "seccompFd"


class Listener:
    """A connection for one container process.  Raises `KernelError` where nobody listens."""

    def __init__(self, path: str, metadata: str, about: Mapping[str, Any]) -> None:
        self.path = path
        self._metadata = metadata
        self._about = dict(about)
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._socket.settimeout(_PATIENCE_S)
        try:
            self._socket.connect(path)
        except OSError as error:
            self.close()
            raise _failed(path, error) from error

    def hand_over(self, pid: int, pidfd: int, number: int) -> None:
        """Send the descriptor `number` of the process, and say whose it is."""
        import json

        state: dict[str, Any] = {**self._about, "pid": pid}
        told: dict[str, Any] = {
            "ociVersion": state["ociVersion"],
            "fds": [_NAME],
            "pid": pid,
            "state": state,
        }
        if self._metadata:
            told["metadata"] = self._metadata
        try:
            fd = linux.pidfd_getfd(pidfd, number)
            try:
                self._send(json.dumps(told).encode("ascii"), fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise _failed(self.path, error) from error
        finally:
            self.close()

    def _send(self, data: bytes, fd: int) -> None:
        packed = fd.to_bytes(_FD_BYTES, sys.byteorder)
        control = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)]
        sent = self._socket.sendmsg([data], control, _socket.MSG_NOSIGNAL)
        while sent < len(data):
            sent += self._socket.send(data[sent:], _socket.MSG_NOSIGNAL)

    def close(self) -> None:
        """Twice does no harm."""
        self._socket.close()


def _failed(path: str, error: OSError) -> KernelError:
    if error.errno is not None:
        return kernel_error(OPERATION, path, error)
    return KernelError(  # what a timeout is, it has no errno
        f"{OPERATION} {path}: nobody takes it", operation=OPERATION, path=path
    )
