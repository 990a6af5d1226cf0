"""Method calls to systemd, and jobs that are waited for, over whatever bus this host has.

Law: this module says what a bus is; `bus_pool` decides, `bus_socket` connects, and the adapters
`bus_jeepney` and `bus_pydbus` are the one home of D-Bus libraries, imported when the first
connection is made.  Nothing here knows what a unit is.  Every wait has a deadline.

A `Bus` is a pool of connections.  One is taken for each call or job, so threads never wait for one
another, and no lock is held while waiting.  The pool is kept by process id: a forked child starts
with an empty one.  Where the other side went away

- while a connection was idle: it is replaced, and nobody notices;
- in the middle, and the call is a read, or is known not to have arrived: it is repeated once;
- in the middle otherwise: whether it was done is not known, which is a `DriverError`; `JobLost` for
  a job.  The caller looks at the unit.

The addresses are tried in order: the bus, then the private socket, where systemd itself answers
and no dbus-daemon is needed.  A private connection is sent every signal of the manager for as long
as it is open, so it is never kept.

`CGMGR_BUS` chooses the adapter: "jeepney" (the default) or "pydbus".  GLib's threads do not outlive
a fork, so a child that is forked from a process that has used pydbus speaks by jeepney.
"""

from __future__ import annotations

import os

from cgmgr.errors import DriverError, RequestError
from cgmgr.record import Record

from . import bus_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from typing import Any, Final, Protocol

    #: a variant, as jeepney writes them: signature and value
    Value = tuple[str, Any]

    class Bus(Protocol):
        """What a driver asks of a bus."""

        def call(
            self,
            path: str,
            interface: str,
            member: str,
            signature: str = "",
            args: tuple[Any, ...] = (),
            *,
            timeout_s: float = 10.0,
        ) -> tuple[Any, ...]:
            """Call a method of org.freedesktop.systemd1 and return the body of the reply.

            Variants are `Value` in both directions, arrays are lists ("ay": bytes), structs are
            tuples.  Raises `BusError` (systemd says no), `DeadlineExceeded`, `RequestError` (the
            arguments do not fit the signature), and `DriverError` (no bus, or lost in the middle).
            """
            ...

        def job(
            self,
            member: str,
            signature: str,
            args: tuple[Any, ...],
            *,
            timeout_s: float = 30.0,
        ) -> str:
            """Call a method of the manager that returns a job, and wait for the end of the job.

            Returns how it ended: "done", "canceled", "timeout", "failed", "dependency", "skipped"
            or another word of systemd's.  Raises what `call` raises, and `JobLost`.
            """
            ...

        def close(self) -> None:
            """Close what is idle; what is in use is closed when it is given back."""
            ...

    class Adapter(Protocol):
        """Makes a connection of an authenticated socket, which it takes over."""

        def __call__(self, sock: socket.socket, *, direct: bool) -> Connection: ...

    class Connection(Protocol):
        """What an adapter provides: one connection, used by one thread at a time.

        Every method may raise `ConnectionLost` and `DeadlineExceeded`; it is closed after either.
        """

        def call(self, call: Call, deadline: float) -> Reply:
            """Raises `BusError` for an error reply, `RequestError` for arguments that do not fit.

            Every JobRemoved that comes meanwhile is kept until `forget`.
            """
            ...

        def tell(self, call: Call, deadline: float) -> None:
            """Send a call that is not answered; what is sent after it arrives after it."""
            ...

        def removed(self, job: str, sender: str | None, deadline: float) -> str:
            """Wait until `sender` says that the job is over; return how it ended."""
            ...

        def forget(self) -> None:
            """Drop what was kept of signals."""
            ...

        def alive(self) -> bool:
            """Whether the other side is there still.  Does not wait."""
            ...

        def close(self) -> None: ...

        def abandon(self) -> None:
            """Let go of it in a forked child, in a way that the parent's does not notice."""
            ...


MANAGER_NAME: Final = "org.freedesktop.systemd1"
MANAGER_PATH: Final = "/org/freedesktop/systemd1"
MANAGER: Final = "org.freedesktop.systemd1.Manager"
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
TRANSPORTS: Final = ("jeepney", "pydbus")

DBUS: Final = "org.freedesktop.DBus"
_NOT_ALLOWED: Final = "su # or as a user with a systemd of your own"
_HINTS: Final = {
    f"{DBUS}.Error.AccessDenied": _NOT_ALLOWED,
    f"{DBUS}.Error.InteractiveAuthorizationRequired": _NOT_ALLOWED,
    f"{DBUS}.Error.LimitsExceeded": "busctl list --acquired # who holds the connections",
}


class BusError(DriverError):
    """systemd, or the bus, refused a call; `name` is the error's, as in D-Bus."""

    DETAILS = (*DriverError.DETAILS, "name")

    def __init__(self, message: str, *, name: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.name = name


class JobLost(DriverError):
    """The bus went away between the request and the end of its job: nobody knows how it ended."""


class ConnectionLost(Exception):
    """Between adapter and pool only.  `delivered`: the other side may have got the call."""

    def __init__(self, reason: str, *, delivered: bool) -> None:
        super().__init__(reason)
        self.delivered = delivered


class Call(Record):
    """One method call.  `destination` is left out on a direct connection."""

    path: str
    interface: str
    member: str
    signature: str = ""
    args: tuple[Any, ...] = ()
    destination: str = MANAGER_NAME


class Reply(Record):
    """What came back, and the unique name of who sent it (None on some direct connections)."""

    body: tuple[Any, ...]
    sender: str | None


def connect(
    host_root: str = "/",
    *,
    user: bool = False,
    transport: str = "auto",
    environ: Mapping[str, str] | None = None,
) -> Bus:
    """The bus of the host's systemd, or of the user's.  Connects at the first call, not here.

    Raises `DriverError` for a transport that there is not.
    """
    env = os.environ if environ is None else environ
    chosen = transport if transport != "auto" else _transport(env)
    if chosen not in TRANSPORTS:
        raise DriverError(
            f"no transport {chosen!r}: there are {' and '.join(TRANSPORTS)}",
            operation="connect to the bus",
            value=chosen,
            hint=f"export CGMGR_BUS={TRANSPORTS[0]}",
        )
    find = bus_socket.user_addresses if user else bus_socket.system_addresses
    from .bus_pool import PooledBus

    return PooledBus(find(host_root, env), chosen, user=user)


def transport() -> str:
    """The adapter that this process uses, unless it is told otherwise."""
    return _transport(os.environ)


def _transport(env: Mapping[str, str]) -> str:
    return env.get("CGMGR_BUS") or TRANSPORTS[0]


# --- errors --------------------------------------------------------------------------------------


def refused(call: Call, name: str, text: str) -> BusError:
    """The error for an error reply; for the adapters."""
    return BusError(
        f"{call.member}: {text.strip().rstrip('.') or name}",
        name=name,
        operation=call.member,
        path=call.path,
        hint=_HINTS.get(name),
    )


def misfit(call: Call, error: Exception) -> RequestError:
    """The error for arguments that are not what the signature says; for the adapters."""
    return RequestError(
        f"{call.member}: arguments do not fit {call.signature!r}: {error}",
        operation=call.member,
        path=call.path,
        value=repr(call.args),
    )
