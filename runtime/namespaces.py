"""Namespaces as a table, and what a fresh one needs before it is of use.

Law: names, flags and the few calls that set a new namespace up; who enters which is decided
elsewhere.

Source: namespaces(7), config-linux.md of the OCI runtime specification.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import sys

from cgmgr import linux
from cgmgr.errors import KernelError, RequestError
from cgmgr.record import Record

from . import capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final


class Namespace(Record):
    """One kind.  `name` is OCI's word, `proc` the name below /proc/PID/ns, `letter` that of
    unshare(1)'s flag."""

    name: str
    flag: int
    proc: str
    letter: str


#: user first: it owns those that are made with it or after it
TABLE: Final = (
    Namespace(name="user", flag=linux.CLONE_NEWUSER, proc="user", letter="U"),
    Namespace(name="mount", flag=linux.CLONE_NEWNS, proc="mnt", letter="m"),
    Namespace(name="uts", flag=linux.CLONE_NEWUTS, proc="uts", letter="u"),
    Namespace(name="ipc", flag=linux.CLONE_NEWIPC, proc="ipc", letter="i"),
    Namespace(name="network", flag=linux.CLONE_NEWNET, proc="net", letter="n"),
    Namespace(name="pid", flag=linux.CLONE_NEWPID, proc="pid_for_children", letter="p"),
    Namespace(name="cgroup", flag=linux.CLONE_NEWCGROUP, proc="cgroup", letter="C"),
    Namespace(name="time", flag=linux.CLONE_NEWTIME, proc="time_for_children", letter="T"),
)
BY_NAME: Final = {namespace.name: namespace for namespace in TABLE}

#: those of a container, unless one is loosened
DEFAULT: Final = ("mount", "uts", "pid", "network", "ipc", "cgroup")


def named(name: str) -> Namespace:
    """The namespace of that name; `RequestError` for a word that is none."""
    try:
        return BY_NAME[name]
    except KeyError:
        raise RequestError(
            f"unknown namespace {name!r}, there are {', '.join(BY_NAME)}",
            operation="set namespaces",
            value=name,
        ) from None


def flags(names: Iterable[str]) -> int:
    """The CLONE_NEW* flags of some names."""
    together = 0
    for name in names:
        together |= named(name).flag
    return together


#: clone flags, the capability that they need, for what, and the option that gives or avoids it
_POWERS: Final = (
    (
        -1,
        "SYS_ADMIN",
        "namespaces of its own",
        "--cap-add SYS_ADMIN # of the container that this is in",
    ),
    (linux.CLONE_NEWNET, "NET_ADMIN", "a loopback of its own", "--network host"),
)


def demand(wanted: int) -> None:
    """Raise `KernelError` that says what is missing where this process may not make these: within a
    container it usually may not."""
    if wanted & linux.CLONE_NEWUSER:
        return  # whoever makes that has every capability in it
    held = capabilities.names_of(linux.capget()[0])
    for flag, name, what, hint in _POWERS:
        if wanted & flag and name not in held:
            raise KernelError(
                f"make container: {what} needs CAP_{name}, which this process has not",
                operation="make container",
                value=name,
                errno=errno.EPERM,
                hint=hint,
            )


SIOCGIFFLAGS: Final = 0x8913  # linux/sockios.h
SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 0x1  # linux/if.h
_IFREQ_BYTES: Final = 40  # struct ifreq: 16 bytes of name, then a union, here a short of flags


def loopback_up() -> None:
    """Bring up `lo` in this network namespace: a new one has it down (network_namespaces(7))."""
    control = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        request = bytearray(b"lo".ljust(_IFREQ_BYTES, b"\0"))
        fcntl.ioctl(control, SIOCGIFFLAGS, request)
        present = int.from_bytes(request[16:18], sys.byteorder)
        request[16:18] = (present | _IFF_UP).to_bytes(2, sys.byteorder)
        fcntl.ioctl(control, SIOCSIFFLAGS, request)
    finally:
        control.close()
