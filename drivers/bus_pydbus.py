"""One connection to a bus by pydbus, that is: by GLib's D-Bus, which pydbus is a face of.

Law: only `bus` imports this, and only when a connection is made.  Every connection has a main
context of its own, which only the thread that uses it runs, so neither the application's main loop
nor its default context is touched; deadlines are GLib's timeouts in that context.

pydbus's proxies are not used: they ask each object for its introspection first (one more round
trip, and 200 KB of XML from systemd's manager), and what they return has lost its types.

GLib moves messages in a thread of its own, which a fork does not copy: `lost_by_fork`.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

from cgmgr.errors import DriverError

from . import bus_socket
from .bus import MANAGER, MANAGER_PATH, ConnectionLost, Reply, misfit, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator
    from typing import Any

    from .bus import Call

#: the process whose GLib threads run, 0 before there are any
_home_pid = 0
#: in a forked child no connection of the parent's may be finalised: GLib would wait for its thread
_open: set[PydbusConnection] = set()


def lost_by_fork() -> bool:
    """Whether this process was forked from one that has used GLib's D-Bus already."""
    return _home_pid not in (0, os.getpid())


class PydbusConnection:
    """A `bus.Connection`."""

    def __init__(self, sock: socket.socket, *, direct: bool) -> None:
        global _home_pid
        try:
            self._glib, self._gio, bus = _libraries()
        except BaseException:
            sock.close()
            raise
        _home_pid = os.getpid()
        self._direct = direct
        self._context = self._glib.MainContext.new()
        self._ended: dict[tuple[str | None, str], str] = {}
        self._fd = sock.detach()
        stream = self._gio.Socket.new_from_fd(self._fd).connection_factory_create_connection()
        with self._own_context():
            # Without flags: it is authenticated, and Hello is said where its deadline is known.
            self._bus: Any = bus(self._gio.DBusConnection.new_sync(stream, None, 0, None, None))
            self._bus.con.set_exit_on_close(False)
            self._subscription: Any = self._bus.subscribe(
                iface=MANAGER,
                signal="JobRemoved",
                object=MANAGER_PATH,
                flags=self._gio.DBusSignalFlags.NO_MATCH_RULE,
                signal_fired=self._note,
            )
        _open.add(self)

    def call(self, call: Call, deadline: float) -> Reply:
        message = self._message(call)
        answers: list[Any] = []

        def answered(connection: Any, result: Any) -> None:
            try:
                answers.append(connection.send_message_with_reply_finish(result))
            except self._glib.Error as error:
                answers.append(error)

        with self._own_context():
            self._bus.con.send_message_with_reply(
                message, 0, _milliseconds(deadline), None, answered
            )
            self._run_until(lambda: bool(answers), deadline)
        if isinstance(answers[0], self._glib.Error):
            raise self._failure(answers[0]) from answers[0]
        return self._reply(call, answers[0])

    def tell(self, call: Call, deadline: float) -> None:
        del deadline  # it is GLib's thread that sends it
        message, flags = self._message(call), self._gio.DBusMessageFlags
        message.set_flags(flags.NO_AUTO_START | flags.NO_REPLY_EXPECTED)
        try:
            self._bus.con.send_message(message, self._gio.DBusSendMessageFlags.NONE)
        except self._glib.Error as error:
            raise ConnectionLost("the connection was lost", delivered=False) from error

    def removed(self, job: str, sender: str | None, deadline: float) -> str:
        with self._own_context():
            self._run_until(lambda: (sender, job) in self._ended, deadline)
        return self._ended[sender, job]

    def forget(self) -> None:
        self._ended.clear()

    def alive(self) -> bool:
        return self in _open and not (self._bus.con.is_closed() or bus_socket.peer_gone(self._fd))

    def close(self) -> None:
        if self not in _open:
            return
        _open.discard(self)
        over: list[bool] = []

        def closed(connection: Any, result: Any) -> None:
            over.append(True)
            try:
                connection.close_finish(result)
            except self._glib.Error:
                return  # the other side was faster

        with self._own_context():
            self._subscription.unsubscribe()
            self._bus.con.close(None, closed)
            # GLib writes out what is left before it closes; a peer that does not read is not
            # waited for, then the descriptor goes with the last reference.
            deadline = time.monotonic() + 1
            while not over and time.monotonic() < deadline:
                self._turn(deadline)
        self._bus = self._subscription = None

    def abandon(self) -> None:
        """Nothing: it is GLib's to let go of, and GLib's thread is not here."""

    # --- the main context

    @contextmanager
    def _own_context(self) -> Generator[None]:
        self._context.push_thread_default()
        try:
            yield
        finally:
            self._context.pop_thread_default()

    def _run_until(self, done: Callable[[], bool], deadline: float) -> None:
        while not done():
            if self._context.pending():
                self._context.iteration(False)
            elif self._bus.con.is_closed():
                raise ConnectionLost("the connection was lost", delivered=True)
            elif time.monotonic() >= deadline:
                raise bus_socket.no_answer()
            else:
                self._turn(deadline)

    def _turn(self, deadline: float) -> None:
        """Wait until something happens, or for the deadline."""
        timer = self._glib.timeout_source_new(_milliseconds(deadline))
        timer.set_callback(_once)
        timer.attach(self._context)
        self._context.iteration(True)
        timer.destroy()

    # --- messages

    def _message(self, call: Call) -> Any:
        variant = self._glib.Variant
        try:
            if not variant.is_object_path(call.path):
                raise ValueError(f"{call.path!r} is not an object path")
            body = variant(
                f"({call.signature})", _to_glib(variant, f"({call.signature})", call.args)
            )
        except (TypeError, ValueError, OverflowError, IndexError, KeyError) as error:
            raise misfit(call, error) from error
        name = None if self._direct else call.destination
        message = self._gio.DBusMessage.new_method_call(
            name, call.path, call.interface, call.member
        )
        message.set_flags(self._gio.DBusMessageFlags.NO_AUTO_START)
        message.set_body(body)
        return message

    def _reply(self, call: Call, message: Any) -> Reply:
        body = message.get_body()
        values: tuple[Any, ...] = () if body is None else _from_glib(body)
        if message.get_message_type() == self._gio.DBusMessageType.ERROR:
            text = values[0] if values and isinstance(values[0], str) else ""
            raise refused(call, message.get_error_name() or "", text)
        return Reply(body=values, sender=message.get_sender())

    def _failure(self, error: Any) -> Exception:
        if error.matches(self._gio.io_error_quark(), self._gio.IOErrorEnum.TIMED_OUT):
            return bus_socket.no_answer()
        return ConnectionLost("the connection was lost", delivered=True)

    def _note(
        self, sender: str | None, _object: str, _interface: str, _signal: str, body: Any
    ) -> None:
        if len(body) == 4:
            _id, job, _unit, result = body
            self._ended[sender, job] = result


def _libraries() -> tuple[Any, Any, Any]:
    """GLib, Gio, and pydbus's Bus."""
    try:
        from gi.repository import Gio, GLib  # pyright: ignore
        from pydbus.bus import Bus  # pyright: ignore
    except ImportError as error:
        raise DriverError(
            f"CGMGR_BUS=pydbus: {error}",
            operation="import pydbus",
            value="pydbus",
            hint="apt install python3-pydbus # or pip install 'cgmgr[pydbus]'",
        ) from error
    return GLib, Gio, Bus  # pyright: ignore


def _once(_data: object) -> bool:
    return False


def _milliseconds(deadline: float) -> int:
    return max(1, int((deadline - time.monotonic()) * 1000))


def _to_glib(variant: Any, signature: str, value: Any) -> Any:
    """`value` with each pair (signature, value) at a "v" made a GLib.Variant."""
    kind = signature[0]
    if kind == "v":
        inner, inside = value
        return variant(inner, _to_glib(variant, inner, inside))
    if kind == "(":
        parts: list[str] = variant.split_signature(signature)
        fields = _exactly(value, tuple)
        pairs = zip(parts, fields, strict=True)
        return tuple(_to_glib(variant, part, field) for part, field in pairs)
    if signature[:2] == "a{":
        key, inner = signature[2], signature[3:-1]
        entries = _exactly(value, dict).items()
        return {_to_glib(variant, key, k): _to_glib(variant, inner, v) for k, v in entries}
    if kind == "a":
        items = _exactly(value, list, bytes)
        return [_to_glib(variant, signature[1:], item) for item in items]
    return _exactly(value, str) if kind in "sog" else value


def _exactly(value: Any, *kinds: type) -> Any:
    """`value`, if it is of one of these types; GLib takes much else, and jeepney does not."""
    if not isinstance(value, kinds):
        raise TypeError(f"{value!r} is not a {kinds[0].__name__}")
    return value


def _from_glib(value: Any) -> Any:
    """The other way; `Variant.unpack` would lose the signatures of the variants inside."""
    signature = value.get_type_string()
    if signature == "v":
        inside = value.get_variant()
        return inside.get_type_string(), _from_glib(inside)
    if signature == "ay":
        return bytes(value.unpack())
    if signature[0] in "({a":
        children = [_from_glib(value.get_child_value(i)) for i in range(value.n_children())]
        if signature[0] in "({":
            return tuple(children)
        return dict(children) if signature[1] == "{" else children
    return value.unpack()
