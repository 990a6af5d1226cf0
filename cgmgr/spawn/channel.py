"""Messages with descriptors, over a SOCK_SEQPACKET pair.

Law: a message is a tuple, its name first, written by `marshal`: it is for two processes that run
the same interpreter and trust each other, never for data from elsewhere.  Nothing is known here of
what the messages mean.  Few imports: this is part of every process that cgmgr clones.
"""

from __future__ import annotations

import _socket
import errno
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Final

#: the most that goes in one packet; a unix socket takes net.core.wmem_default, 208 KiB
INLINE_BYTES: Final = 64 * 1024
#: SCM_MAX_FD (net/scm.h), less one for the memfd of a large message
MOST_FDS: Final = 252

#: one end of a channel
Socket = _socket.socket

_LARGE: Final = "large"
_FD_BYTES: Final = 4


def pair() -> tuple[Socket, Socket]:
    """The two ends of a channel, closed on exec."""
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)


def send(
    channel: Socket, message: tuple[Any, ...], fds: Sequence[int] = (), flags: int = 0
) -> None:
    """Send one message, with descriptors.  Raises `OSError`.

    A message that is larger than a packet goes into a memfd, whose descriptor is the last of them.
    """
    body = marshal.dumps(message)
    if len(body) <= INLINE_BYTES:
        _send(channel, body, fds, flags)
        return
    large = os.memfd_create("cgmgr-message", os.MFD_CLOEXEC)
    try:
        _write_all(large, body)
        _send(channel, marshal.dumps((_LARGE, len(body))), (*fds, large), flags)
    finally:
        os.close(large)


def receive(channel: Socket, flags: int = 0) -> tuple[tuple[Any, ...] | None, list[int]]:
    """One message and its descriptors, closed on exec; None at the end.

    Raises `OSError`, EMFILE where not all descriptors could be taken.
    """
    room = _socket.CMSG_SPACE(_FD_BYTES * (MOST_FDS + 1))
    body, control, got, _ = channel.recvmsg(INLINE_BYTES, room, flags | _socket.MSG_CMSG_CLOEXEC)
    fds = [fd for _, _, data in control for fd in _unpack(data)]
    if got & (_socket.MSG_CTRUNC | _socket.MSG_TRUNC):
        close_all(fds)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    if not body:
        return None, fds
    message: tuple[Any, ...] = marshal.loads(body)
    if message[0] == _LARGE:
        large = fds.pop()
        try:
            message = marshal.loads(_read_all(large, message[1]))
        finally:
            os.close(large)
    return message, fds


def close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def _send(channel: Socket, body: bytes, fds: Sequence[int], flags: int) -> None:
    packed = b"".join(fd.to_bytes(_FD_BYTES, sys.byteorder) for fd in fds)
    control = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)] if fds else []
    channel.sendmsg([body], control, flags | _socket.MSG_NOSIGNAL)


def _unpack(data: bytes) -> list[int]:
    whole = len(data) - len(data) % _FD_BYTES
    return [
        int.from_bytes(data[at : at + _FD_BYTES], sys.byteorder)
        for at in range(0, whole, _FD_BYTES)
    ]


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _read_all(fd: int, size: int) -> bytes:
    parts: list[bytes] = []
    at = 0
    while at < size and (part := os.pread(fd, size - at, at)):
        parts.append(part)
        at += len(part)
    return b"".join(parts)
