"""A systemd that does nothing but talk: on a bus, or as the peer behind its private socket.

Law: nothing of cgmgr is imported here; the messages are jeepney's.  It runs as a process of its
own, so that it can be stopped and killed.  What it does is told by the names it is asked about:

    StartTransientUnit "early.scope"    JobRemoved comes before the reply
                       "late.scope"     after the reply, among those of other jobs
                       "held.scope"     when `Finish` is called
                       "cut.scope"      the caller's connection ends (direct), or ours does (bus)
                       "taken.scope"    refused: UnitExists
    GetUnit            "none.service"   refused: NoSuchUnit; any other has a path
    GetHeld            answers when `Finish` is called
    GetCut, Cut        as "cut.scope", the first time; answer the second time
    AwaitHeld          answers, with who asked, as soon as something is held
    Log                which methods were called

Run: python -m tests.drivers.fake_systemd (bus|direct) SOCKET.  It writes "ready" when it is.
"""

from __future__ import annotations

import selectors
import socket
import sys
from collections.abc import Callable
from typing import Any

import jeepney
from jeepney.io.blocking import open_dbus_connection

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
FIELDS: Any = jeepney.HeaderFields
lib: Any = jeepney  # it has no types


class Peer:
    """Who is at the other end: the bus, or one client."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.parser: Any = lib.Parser()
        self.serial = 1000

    def send(self, message: Any) -> None:
        self.serial += 1
        try:
            self.sock.sendall(message.serialise(self.serial))
        except OSError:
            return  # it has gone, and is taken off when its end is read

    def receive(self) -> list[Any] | None:
        """What has come, or None at the end."""
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        return list(self.parser.feed(data)) if data else None


class Systemd:
    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.log: list[str] = []
        self.jobs = 0
        self.held: dict[str, Callable[[str], None]] = {}
        self.held_for: dict[str, str] = {}
        self.waiting: list[tuple[Peer, Any]] = []

    # --- what it says

    def reply(self, peer: Peer, call: Any, signature: str = "", body: tuple[Any, ...] = ()) -> None:
        message = lib.new_method_return(call, signature or None, body)
        if FIELDS.destination in message.header.fields and not _sender(call):
            del message.header.fields[FIELDS.destination]
        peer.send(message)

    def refuse(self, peer: Peer, call: Any, name: str, text: str) -> None:
        peer.send(lib.new_error(call, name, "s", (text,)))

    def job_removed(self, job: str, unit: str, result: str) -> None:
        emitter = lib.DBusAddress(PATH, bus_name=NAME, interface=MANAGER)
        for peer in self.peers:
            body = (1, job, unit, result)
            peer.send(lib.new_signal(emitter, "JobRemoved", "uoss", body))

    # --- what it does

    def handle(self, peer: Peer, call: Any) -> None:
        member = call.header.fields.get(FIELDS.member, "")
        if call.header.message_type is not lib.MessageType.method_call:
            return
        self.log.append(member)
        method: Any = getattr(self, f"do_{member}", None)
        if method is None:
            error = "org.freedesktop.DBus.Error.UnknownMethod"
            self.refuse(peer, call, error, f"Unknown method {member}.")
            return
        method(peer, call)

    def do_StartTransientUnit(self, peer: Peer, call: Any) -> None:
        unit = call.body[0]
        self.jobs += 1
        job = f"{PATH}/job/{self.jobs}"
        if unit == "taken.scope":
            text = f"Unit {unit} was already loaded or has a fragment file."
            self.refuse(peer, call, f"{NAME}.UnitExists", text)
        elif unit == "cut.scope":
            self.cut(peer)
        elif unit == "early.scope":
            self.job_removed(job, unit, "done")
            self.reply(peer, call, "o", (job,))
        elif unit == "held.scope":
            self.hold(unit, call, lambda result: self.job_removed(job, unit, result))
            self.reply(peer, call, "o", (job,))
        else:
            self.job_removed(f"{job}0", "other.service", "failed")
            self.reply(peer, call, "o", (job,))
            self.job_removed(f"{job}1", unit, "canceled")
            self.job_removed(job, unit, "done")

    def do_GetUnit(self, peer: Peer, call: Any) -> None:
        unit = call.body[0]
        if unit == "none.service":
            self.refuse(peer, call, f"{NAME}.NoSuchUnit", f"Unit {unit} not loaded.")
        else:
            self.reply(peer, call, "o", (f"{PATH}/unit/{len(unit)}",))

    def do_Echo(self, peer: Peer, call: Any) -> None:
        self.reply(peer, call, call.header.fields.get(FIELDS.signature, ""), call.body)

    def do_GetHeld(self, peer: Peer, call: Any) -> None:
        self.hold("GetHeld", call, lambda result: self.reply(peer, call, "s", (result,)))

    def do_GetCut(self, peer: Peer, call: Any) -> None:
        if self.log.count(call.header.fields[FIELDS.member]) == 1:
            self.cut(peer)
        else:
            self.reply(peer, call)

    do_Cut = do_GetCut

    def do_AwaitHeld(self, peer: Peer, call: Any) -> None:
        self.waiting.append((peer, call))
        self.tell_waiting()

    def do_Finish(self, peer: Peer, call: Any) -> None:
        name, result = call.body
        self.held.pop(name)(result)
        self.reply(peer, call)

    def do_Log(self, peer: Peer, call: Any) -> None:
        self.reply(peer, call, "as", (self.log,))

    def hold(self, name: str, call: Any, finish: Callable[[str], None]) -> None:
        self.held[name], self.held_for[name] = finish, _sender(call)
        self.tell_waiting()

    def tell_waiting(self) -> None:
        for peer, call in [waits for waits in self.waiting if waits[1].body[0] in self.held]:
            self.waiting.remove((peer, call))
            self.reply(peer, call, "s", (self.held_for[call.body[0]],))

    def cut(self, peer: Peer) -> None:
        peer.sock.shutdown(socket.SHUT_RDWR)


def _sender(call: Any) -> str:
    return str(call.header.fields.get(FIELDS.sender, ""))


def _greet(sock: socket.socket) -> Peer:
    """The server's side of EXTERNAL, as sd-bus has it.

    BEGIN must be there before the answer: sd-bus would overlook a message that comes along with it.
    The answer has a signal right behind it, as systemd's may have.
    """
    with sock.makefile("rb", buffering=0) as lines:
        lines.read(1)
        for line in (b"AUTH EXTERNAL\r\n", b"DATA\r\n", b"BEGIN\r\n"):
            assert lines.readline() == line
    emitter = lib.DBusAddress(PATH, bus_name=NAME, interface=MANAGER)
    signal = lib.new_signal(emitter, "UnitNew", "so", ("a.service", f"{PATH}/unit/a"))
    sock.sendall(b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\n" + signal.serialise(1))
    return Peer(sock)


def main(how: str, path: str) -> None:
    systemd = Systemd()
    listener = None
    with selectors.DefaultSelector() as selector:

        def add(peer: Peer) -> None:
            systemd.peers.append(peer)
            selector.register(peer.sock, selectors.EVENT_READ, peer)

        if how == "direct":
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            listener.listen(1)
            selector.register(listener, selectors.EVENT_READ)
        else:
            bus: Any = open_dbus_connection(f"unix:path={path}")
            bus.send_and_get_reply(lib.message_bus.RequestName(NAME))
            add(Peer(bus.sock))
        print("ready", flush=True)  # noqa: T201 - whoever started it waits for this
        while listener or systemd.peers:
            for key, _ in selector.select():
                if key.data is None:
                    assert listener is not None
                    try:
                        add(_greet(listener.accept()[0]))
                    except (AssertionError, OSError):
                        continue  # it only filled the backlog
                    continue
                peer: Peer = key.data
                messages = peer.receive()
                if messages is None:
                    selector.unregister(peer.sock)
                    systemd.peers.remove(peer)
                    peer.sock.close()
                for message in messages or ():
                    systemd.handle(peer, message)


if __name__ == "__main__":
    main(*sys.argv[1:])
