"""What a client is handed while it waits: a descriptor by a socket, a process id by a file.

Law: one act each; an error says which of the client's files it was about.

Source: "Passing pseudo-terminal file descriptors" in runc's docs/terminals.md: one message with one
descriptor, whose text is the descriptor's name.
"""

from __future__ import annotations

import _socket
import array
import os

from cgmgr.errors import RequestError, kernel_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from cgmgr.runtime.launcher import Init

#: the clients listen already; one that does not answer must not hold up a container for ever
SEND_S: Final = 10.0


def hand_over(init: Init, pid_file: str, console_socket: str, pidfd_socket: str) -> None:
    """All that was asked for, "" for nothing, and last what the client waits for, the pid."""
    if console_socket:
        send_descriptor(console_socket, init.terminal, "terminal")
    if pidfd_socket:
        send_descriptor(pidfd_socket, init.process.pidfd, "pidfd")
    if pid_file:
        write_pid(pid_file, init.process.pid)


def check_kept(count: int) -> None:
    """Whether the descriptors are open that the caller wants handed on.  Asked before anything else
    is opened, which would get their numbers.  Raises `RequestError`."""
    for fd in range(3, 3 + count):
        try:
            os.fstat(fd)
        except OSError as error:
            raise RequestError(
                f"descriptor {fd}, of {count} to hand on, is not open",
                operation="read --preserve-fds",
                value=str(fd),
                errno=error.errno,
            ) from error


def send_descriptor(path: str, fd: int, name: str) -> None:
    """Send one descriptor to whoever listens at a socket's path."""
    client = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        client.settimeout(SEND_S)
        client.connect(path)
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [fd]))
        client.sendmsg([name.encode()], [rights])
    except OSError as error:
        raise kernel_error(f"send the {name}", path, error) from error
    finally:
        client.close()


def write_pid(path: str, pid: int) -> None:
    """Write a process id; the file is there whole or not at all, for its reader polls."""
    folder, name = os.path.split(path)
    beside = os.path.join(folder, f".{name}.{os.getpid()}")
    try:
        with open(beside, "x", encoding="ascii") as file:
            file.write(str(pid))
        os.rename(beside, path)
    except OSError as error:
        raise kernel_error("write the pid file", path, error) from error
