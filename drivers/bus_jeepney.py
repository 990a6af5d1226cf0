"""One connection to a bus by jeepney's sans-IO parts: it makes and parses messages, we do the rest.

Law: only `bus` imports this, and only when a connection is made (jeepney costs 16 ms).  The socket
comes connected, authenticated and non-blocking from `bus_socket`; every wait has a deadline.
"""

from __future__ import annotations

import time
from itertools import count

from cgmgr.errors import DeadlineExceeded

from . import bus_socket
from .bus import ConnectionLost, Reply, misfit, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

    from .bus import Call


class JeepneyConnection:
    """A `bus.Connection`."""

    def __init__(self, sock: socket.socket, *, direct: bool) -> None:
        import jeepney

        self._jeepney: Any = jeepney
        self._fields: Any = jeepney.HeaderFields
        self._sock = sock
        self._direct = direct
        self._parser: Any = jeepney.Parser()
        self._serials = count(1)
        self._ended: dict[tuple[str | None, str], str] = {}

    def call(self, call: Call, deadline: float) -> Reply:
        serial = next(self._serials)
        self._send(self._bytes(call, serial), deadline)
        while True:
            message = self._next(deadline)
            if message.header.fields.get(self._fields.reply_serial) == serial:
                return self._reply(call, message)

    def tell(self, call: Call, deadline: float) -> None:
        self._send(self._bytes(call, next(self._serials), answered=False), deadline)

    def removed(self, job: str, sender: str | None, deadline: float) -> str:
        while (sender, job) not in self._ended:
            self._next(deadline)
        return self._ended[sender, job]

    def forget(self) -> None:
        self._ended.clear()

    def alive(self) -> bool:
        return self._sock.fileno() >= 0 and not bus_socket.peer_gone(self._sock.fileno())

    def close(self) -> None:
        self._sock.close()

    abandon = close

    def _bytes(self, call: Call, serial: int, *, answered: bool = True) -> bytes:
        try:
            message = self._message(call)
            if not answered:
                message.header.flags |= self._jeepney.MessageFlag.no_reply_expected
            data: bytes = message.serialise(serial)
        except Exception as error:  # whatever struct and str raise
            raise misfit(call, error) from error
        return data

    def _message(self, call: Call) -> Any:
        address = self._jeepney.DBusAddress(call.path, call.destination, call.interface)
        signature = call.signature or None
        message = self._jeepney.new_method_call(address, call.member, signature, call.args)
        message.header.flags = self._jeepney.MessageFlag.no_auto_start
        if self._direct:
            del message.header.fields[self._fields.destination]
        return message

    def _send(self, data: bytes, deadline: float) -> None:
        try:
            bus_socket.send(self._sock, data, deadline)
        except DeadlineExceeded:  # an OSError too
            raise
        except OSError as error:
            # Something is missing from the message, so nobody acts on it.
            raise ConnectionLost("the connection was lost", delivered=False) from error

    def _next(self, deadline: float) -> Any:
        """The next message; if it tells of a job's end, that is noted too."""
        while True:
            try:
                message = self._parser.get_next_message()
            except Exception as error:
                raise ConnectionLost("the bus sent what is not D-Bus", delivered=True) from error
            if message is not None:
                self._note(message)
                return message
            self._parser.add_data(self._receive(deadline))

    def _receive(self, deadline: float) -> bytes:
        if time.monotonic() > deadline:
            raise bus_socket.no_answer()
        try:
            return bus_socket.receive(self._sock, deadline)
        except DeadlineExceeded:
            raise
        except ConnectionResetError as error:
            # af_unix tells a reset from an end: the peer left something unread, and the last that
            # we sent is the call.
            raise ConnectionLost("the connection was reset", delivered=False) from error
        except OSError as error:
            raise ConnectionLost("the connection was lost", delivered=True) from error

    def _note(self, message: Any) -> None:
        fields = message.header.fields
        if message.header.message_type is not self._jeepney.MessageType.signal:
            return
        if fields.get(self._fields.member) == "JobRemoved" and len(message.body) == 4:
            _id, job, _unit, result = message.body
            self._ended[fields.get(self._fields.sender), job] = result

    def _reply(self, call: Call, message: Any) -> Reply:
        fields, body = message.header.fields, message.body
        if message.header.message_type is self._jeepney.MessageType.error:
            text = body[0] if body and isinstance(body[0], str) else ""
            raise refused(call, fields.get(self._fields.error_name, ""), text)
        return Reply(body=body, sender=fields.get(self._fields.sender))
