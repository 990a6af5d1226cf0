"""The way to a bus before the first message: addresses, the socket, the handshake.

Law: standard library only, no message is made or read here, and every wait has a deadline (in
`time.monotonic` seconds).  What is returned by `dial` is an authenticated, non-blocking stream
socket, which either adapter of `bus` takes over.

The handshake names no user.  A client inside a user namespace knows itself under an id that the
server does not; "AUTH EXTERNAL" without one lets the server take the id that the kernel tells it
(SO_PEERCRED).  libsystemd's sd-bus does the same since v246, and dbus-daemon, dbus-broker and the
private socket of systemd all accept it.

Source: D-Bus Specification 0.42, "Server Addresses" and "Authentication Protocol"; unix(7).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time

from cgmgr.errors import DeadlineExceeded
from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

_SYSTEM_BUS: Final = "/run/dbus/system_bus_socket"
_SYSTEM_PRIVATE: Final = "/run/systemd/private"
#: no server has a reason to send a longer line (the specification sets no limit)
_LONGEST_LINE: Final = 8192
_FIRST_PAUSE_S: Final = 0.002
_LONGEST_PAUSE_S: Final = 0.25


class Address(Record):
    """A socket to try: the path, or the name of an abstract socket after a NUL.

    `direct` says that systemd itself is at the other end: no bus, so no Hello, no names and no
    match rules.
    """

    path: str
    direct: bool = False

    def __str__(self) -> str:
        return self.path.replace("\0", "@", 1)


# --- addresses -----------------------------------------------------------------------------------


def system_addresses(host_root: str, environ: Mapping[str, str]) -> tuple[Address, ...]:
    """Where PID 1 of the host under `host_root` may answer, in the order to try."""
    root = host_root.rstrip("/")
    said = environ.get("DBUS_SYSTEM_BUS_ADDRESS", "") if not root else ""
    buses = parse_addresses(said) or [Address(path=root + _SYSTEM_BUS)]
    return (*buses, Address(path=root + _SYSTEM_PRIVATE, direct=True))


def user_addresses(host_root: str, environ: Mapping[str, str]) -> tuple[Address, ...]:
    """Where the user's own systemd may answer, in the order to try."""
    root = host_root.rstrip("/")
    run = environ.get("XDG_RUNTIME_DIR", "") if not root else ""
    run = run or f"{root}/run/user/{os.geteuid()}"
    said = environ.get("DBUS_SESSION_BUS_ADDRESS", "") if not root else ""
    found = [
        *parse_addresses(said),
        Address(path=f"{run}/bus"),
        Address(path=f"{run}/systemd/private", direct=True),
    ]
    return tuple(dict.fromkeys(found))


def parse_addresses(text: str) -> list[Address]:
    """The unix sockets in a list of D-Bus addresses; what is not one of those is left out."""
    found: list[Address] = []
    for address in text.split(";"):
        kind, _, rest = address.strip().partition(":")
        pairs: dict[str, str] = {}
        for pair in rest.split(","):
            key, _, value = pair.partition("=")
            pairs[key] = value
        if kind == "unix" and pairs.get("path"):
            found.append(Address(path=_unescape(pairs["path"])))
        elif kind == "unix" and pairs.get("abstract"):
            found.append(Address(path="\0" + _unescape(pairs["abstract"])))
    return found


def _unescape(text: str) -> str:
    from urllib.parse import unquote_to_bytes

    return os.fsdecode(unquote_to_bytes(os.fsencode(text)))


# --- the socket ----------------------------------------------------------------------------------


def dial(address: Address, deadline: float) -> socket.socket:
    """Connect and authenticate.  Raises `OSError`, or `DeadlineExceeded`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        _connect(sock, address, deadline)
        _authenticate(sock, deadline)
    except BaseException:
        sock.close()
        raise
    return sock


def _connect(sock: socket.socket, address: Address, deadline: float) -> None:
    pause = _FIRST_PAUSE_S
    while True:
        number = sock.connect_ex(address.path)
        if number == 0:
            return
        if number not in (errno.EAGAIN, errno.EINTR):
            raise OSError(number, os.strerror(number))
        # The server's backlog is full.  No event tells when it no longer is: a unix socket that
        # does not block never gets into the queue (unix(7), EAGAIN of connect(2)).
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise DeadlineExceeded("too many others wait to connect", operation="connect")
        time.sleep(min(pause, remaining))
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def _authenticate(sock: socket.socket, deadline: float) -> None:
    """The client's side of EXTERNAL, the user left for the kernel to tell.

    All is said at once, as sd-bus says it.  A server of sd-bus (the private socket) that reads the
    first message together with BEGIN does not look at it before more comes (seen with v252); so
    BEGIN must have been read when the first message is sent, and the answer tells that it was.
    """
    send(sock, b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n", deadline)
    for expected in (b"DATA", b"OK"):
        if _line(sock, deadline).partition(b" ")[0].strip() != expected:
            raise PermissionError(errno.EACCES, "the server rejects this user")


def _line(sock: socket.socket, deadline: float) -> bytes:
    """The next line and not a byte more: behind it messages may follow."""
    line = b""
    while not line.endswith(b"\n"):
        if len(line) > _LONGEST_LINE:
            raise OSError(errno.EPROTO, "the server does not speak D-Bus")
        seen = receive(sock, deadline, socket.MSG_PEEK)
        line += receive(sock, deadline, size=seen.find(b"\n") + 1 or len(seen))
    return line


def send(sock: socket.socket, data: bytes, deadline: float) -> None:
    """All of `data`.  Raises `OSError`, or `DeadlineExceeded`."""
    view = memoryview(data)
    while view:
        try:
            # A program may have put SIGPIPE back to its default.
            view = view[sock.send(view, socket.MSG_NOSIGNAL) :]
        except BlockingIOError:
            _wait(sock, select.POLLOUT, deadline)


def receive(sock: socket.socket, deadline: float, flags: int = 0, size: int = 65536) -> bytes:
    """What is there, at least a byte.  Raises `OSError` (`EPIPE` at the end of the stream)."""
    while True:
        try:
            data = sock.recv(size, flags)
        except BlockingIOError:
            _wait(sock, select.POLLIN, deadline)
            continue
        if not data:
            raise BrokenPipeError(errno.EPIPE, "the server closed the connection")
        return data


def _wait(sock: socket.socket, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(sock, event)
    remaining = deadline - time.monotonic()
    if remaining <= 0 or not poll.poll(max(1, int(remaining * 1000))):
        raise no_answer()


def peer_gone(descriptor: int) -> bool:
    """Whether the other side has closed the connection.  Does not wait, and reads nothing."""
    poll = select.poll()
    poll.register(descriptor, select.POLLRDHUP)
    return bool(poll.poll(0))


def no_answer() -> DeadlineExceeded:
    return DeadlineExceeded("systemd did not answer", operation="wait for the bus")
