"""The pool behind `bus.connect`: which connection a call takes, and what follows when it breaks.

Law: the policy of `bus` and nothing else: no socket call, no D-Bus library, no message.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque

from cgmgr.errors import CgmgrError, DeadlineExceeded, DriverError

from . import bus_socket
from .bus import (
    DBUS,
    MANAGER,
    MANAGER_NAME,
    MANAGER_PATH,
    BusError,
    Call,
    ConnectionLost,
    JobLost,
    Reply,
    misfit,
)
from .bus_socket import Address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Final, TypeVar

    from .bus import Adapter, Connection

    Answer = TypeVar("Answer")
#: what the bus itself answers where systemd is not on it, or not yet again; nothing was delivered
_ABSENT: Final = (
    f"{DBUS}.Error.ServiceUnknown",
    f"{DBUS}.Error.NameHasNoOwner",
    f"{DBUS}.Error.Spawn.",
)
#: what the bus answers when systemd took the call and left the bus without a reply
_NO_REPLY: Final = (f"{DBUS}.Error.NoReply", f"{DBUS}.Error.Disconnected")
#: reads, and writes that come to the same when they are done twice
_REPEATABLE: Final = ("Get", "List", "SetUnitProperties", "AttachProcessesToUnit")
_MOST_IDLE: Final = 4
#: a bus that has answered before and refuses now is being restarted; it is given this long
_RESTART_S: Final = 5.0
_RESTART_PAUSE_S: Final = 0.05

_NO_BUS_HINTS: Final = {
    False: "systemctl start dbus # or do it as root, who needs no dbus-daemon",
    True: "loginctl enable-linger $USER; export XDG_RUNTIME_DIR=/run/user/$(id -u)",
}


def _to_bus(member: str, signature: str = "", *args: str) -> Call:
    path = "/org/freedesktop/DBus"
    return Call(
        path=path, interface=DBUS, member=member, signature=signature, args=args, destination=DBUS
    )


_RULE: Final = (
    f"type='signal',sender='{MANAGER_NAME}',path='{MANAGER_PATH}',"
    f"interface='{MANAGER}',member='JobRemoved'"
)
_HELLO: Final = _to_bus("Hello")
_WATCH: Final = _to_bus("AddMatch", "s", _RULE)
_UNWATCH: Final = _to_bus("RemoveMatch", "s", _RULE)


class PooledBus:
    """A `Bus` over the first of some addresses that answers."""

    def __init__(self, addresses: tuple[Address, ...], transport: str, *, user: bool) -> None:
        self._addresses = addresses
        self._transport = transport
        self._user = user
        # No lock: pop and append of a deque are atomic, and a lock that another thread holds during
        # a fork would stay locked in the child.
        self._idle: dict[int, deque[tuple[Address, Connection]]] = {}
        self._answered = False
        self._closed = False

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
        call = Call(path=path, interface=interface, member=member, signature=signature, args=args)
        lost = DriverError if not member.startswith(_REPEATABLE) else None
        reply: Reply = self._talk(call, timeout_s, _ask, lost)
        return reply.body

    def job(
        self, member: str, signature: str, args: tuple[Any, ...], *, timeout_s: float = 30.0
    ) -> str:
        call = Call(
            path=MANAGER_PATH, interface=MANAGER, member=member, signature=signature, args=args
        )
        return self._talk(call, timeout_s, _job, JobLost)

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if hasattr(self, "_idle") and not ending():  # at the very end modules are empty
            self.close()

    def close(self) -> None:
        self._closed = True
        for _address, connection in _drain(self._idle.get(os.getpid())):
            connection.close()

    def _talk(
        self,
        call: Call,
        timeout_s: float,
        speak: Callable[[Call, Address, Connection, float], Answer],
        lost: type[DriverError] | None,
    ) -> Answer:
        """One call or job over one connection; over another one where that is right.

        `lost` is what a call that may have arrived raises, or None if it may be repeated.  It is
        one loop, long as it is: whether to go on depends on all that failed before.
        """
        if _holds_nul(call.args):
            raise misfit(call, ValueError("a string holds a NUL"))
        start = time.monotonic()
        deadline = start + timeout_s
        patience = min(deadline, start + _RESTART_S) if self._answered else start
        failures: dict[Address, str] = {}
        repeated = False
        while True:
            # A server that dies closes one connection after the other: what is idle and seems alive
            # then may be dead in a moment.
            idle = None if repeated else self._take()
            address, connection = idle or self._open(failures, deadline, patience)
            try:
                answer = speak(call, address, connection, deadline)
            except BusError as error:
                if error.name.startswith(_ABSENT):
                    connection.close()
                    failures[address] = "systemd is not on this bus"
                    continue
                if error.name not in _NO_REPLY:
                    self._give_back(address, connection)
                    raise
                gone = ConnectionLost("systemd left the bus", delivered=True)
            except ConnectionLost as error:
                gone = error
            except DeadlineExceeded as error:
                connection.close()
                raise _late(call, error, timeout_s) from error
            except BaseException:
                connection.close()
                raise
            else:
                self._give_back(address, connection)
                return answer
            connection.close()
            if repeated or (gone.delivered and lost):
                raise _lost(call, gone, lost or DriverError)
            repeated = True
            patience = max(patience, min(deadline, time.monotonic() + _RESTART_S))

    # --- the pool

    def _take(self) -> tuple[Address, Connection] | None:
        """An idle connection that is not known to be dead."""
        if self._closed:
            raise DriverError("the bus was closed before", operation="connect to the bus")
        mine = os.getpid()
        for pid in [pid for pid in self._idle if pid != mine]:
            for _address, connection in _drain(self._idle.pop(pid, None)):
                connection.abandon()
        for address, connection in _drain(self._idle.get(mine)):
            if connection.alive():
                return address, connection
            connection.close()
        return None

    def _give_back(self, address: Address, connection: Connection) -> None:
        self._answered = True
        idle = self._idle.setdefault(os.getpid(), deque())
        if self._closed or address.direct or len(idle) >= _MOST_IDLE or not connection.alive():
            connection.close()
            return
        connection.forget()
        idle.append((address, connection))

    def _open(
        self, failures: dict[Address, str], deadline: float, patience: float
    ) -> tuple[Address, Connection]:
        """A new connection; a bus that is just being restarted is asked again until `patience`."""
        while True:
            try:
                return self._first(failures, deadline)
            except DriverError:
                if time.monotonic() + _RESTART_PAUSE_S > patience:
                    raise
            # Nobody tells when a socket is listened to again.
            time.sleep(_RESTART_PAUSE_S)
            failures.clear()

    def _first(self, failures: dict[Address, str], deadline: float) -> tuple[Address, Connection]:
        """A new connection to the first address that answers and is not among the failures."""
        late = False
        left = [address for address in self._addresses if address not in failures]
        for address in left:
            now = time.monotonic()
            # One that hangs must not use up the time of those after it.
            until = deadline if address is left[-1] else now + (deadline - now) / 2
            try:
                return address, self._greet(address, until)
            except DeadlineExceeded as error:
                failures[address], late = str(error), True
            except (OSError, ConnectionLost) as error:
                failures[address] = (getattr(error, "strerror", None) or str(error)).lower()
        raise _no_bus(failures, user=self._user, late=late)

    def _greet(self, address: Address, deadline: float) -> Connection:
        open_over = _adapter(self._transport)
        connection = open_over(bus_socket.dial(address, deadline), direct=address.direct)
        try:
            if not address.direct:
                connection.call(_HELLO, deadline)
        except BaseException as error:
            connection.close()
            if isinstance(error, BusError):
                raise ConnectionLost(str(error), delivered=False) from error
            raise
        return connection


def _drain(
    idle: deque[tuple[Address, Connection]] | None,
) -> Iterator[tuple[Address, Connection]]:
    """Take out what is idle, one by one; other threads may do so at the same time."""
    while idle:
        try:
            yield idle.pop()
        except IndexError:
            return


def _holds_nul(value: Any) -> bool:
    """A bus would not answer that, but close the connection (specification, "Valid strings")."""
    if isinstance(value, str):
        return "\0" in value
    return type(value) in (tuple, list) and any(map(_holds_nul, value))


def _ask(call: Call, _address: Address, connection: Connection, deadline: float) -> Reply:
    return connection.call(call, deadline)


def _job(call: Call, address: Address, connection: Connection, deadline: float) -> str:
    """Watch first, then call, so that no signal is missed, however early.

    The bus takes what one connection sends in its order, so its answer to the watch is not waited
    for.  It has no reason to refuse one
    (max_match_rules_per_connection of dbus-daemon(1) is 512); the job would seem late then.
    """
    if address.direct:
        return _to_its_end(call, connection, deadline)
    connection.tell(_WATCH, deadline)
    try:
        ended = _to_its_end(call, connection, deadline)
    except BusError:
        _unwatch(connection, deadline)
        raise
    _unwatch(connection, deadline)
    return ended


def _to_its_end(call: Call, connection: Connection, deadline: float) -> str:
    reply = connection.call(call, deadline)
    job = str(reply.body[0])
    try:
        # A signal to one's own unique name can come from anybody, match rule or not: only the
        # sender of the reply is believed.
        return connection.removed(job, reply.sender, deadline)
    except DeadlineExceeded as error:
        raise DeadlineExceeded(f"{job} did not end", path=job) from error


def _unwatch(connection: Connection, deadline: float) -> None:
    """What is known already is not lost by this: a connection that does not take it is closed."""
    try:
        connection.tell(_UNWATCH, max(deadline, time.monotonic() + 1))
    except (ConnectionLost, DeadlineExceeded):
        connection.close()


def _adapter(transport: str) -> Adapter:
    if transport == "pydbus":
        from . import bus_pydbus

        if not bus_pydbus.lost_by_fork():
            return bus_pydbus.PydbusConnection
    from .bus_jeepney import JeepneyConnection

    return JeepneyConnection


def _lost(call: Call, gone: ConnectionLost, kind: type[DriverError]) -> DriverError:
    return kind(
        f"{call.member}: {gone}, and whether it was done is not known",
        operation=call.member,
        path=call.path,
    )


def _late(call: Call, error: DeadlineExceeded, timeout_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"{call.member}: {error} within {timeout_s:g} s",
        operation=call.member,
        path=error.path or call.path,
        hint="systemctl is-system-running # systemd is busy, or stopped",
    )


def _no_bus(failures: dict[Address, str], *, user: bool, late: bool) -> CgmgrError:
    kind = "user" if user else "system"
    tried = ", and ".join(f"{address}: {why}" for address, why in failures.items())
    raised = DeadlineExceeded if late else DriverError
    return raised(
        f"no {kind} bus: {tried}",
        operation="connect to the bus",
        path=str(next(iter(failures))),
        hint=_NO_BUS_HINTS[user],
    )
