"""The user's side of a terminal: raw and given back, copied both ways, resized."""

from __future__ import annotations

import os
import signal
import termios
import threading
import tty
from collections.abc import Iterator

import pytest

from cgmgr.runtime import terminal


class Wire:
    """A container's terminal, the user's keyboard and screen, and an end to wait for."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.source, self.keyboard = os.pipe()
        self.screen, self.sink = os.pipe()
        self.ended, self.end = os.pipe()
        self.thread = threading.Thread(
            target=terminal.relay, args=(self.master, self.source, self.sink, self.ended)
        )

    def finish(self) -> None:
        os.write(self.end, b"x")
        self.thread.join()

    def close(self) -> None:
        if self.thread.is_alive():
            self.finish()
        for name, fd in vars(self).items():
            if isinstance(fd, int) and fd >= 0:
                self.drop(name)

    def drop(self, name: str) -> None:
        """Close one of its ends, for good."""
        os.close(getattr(self, name))
        setattr(self, name, -1)


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


def test_keys_go_in_and_text_comes_out(wire: Wire) -> None:
    wire.thread.start()

    os.write(wire.keyboard, b"key\x03")
    assert os.read(wire.slave, 10) == b"key\x03"
    os.write(wire.slave, b"text")

    assert os.read(wire.screen, 10) == b"text"


def test_the_last_words_are_not_lost(wire: Wire) -> None:
    os.write(wire.slave, b"w" * 3000)
    wire.drop("slave")
    os.write(wire.end, b"x")

    terminal.relay(wire.master, wire.source, wire.sink, wire.ended)

    assert len(os.read(wire.screen, 10000)) == 3000


def test_somebody_who_keeps_the_terminal_open_does_not_hold_us(wire: Wire) -> None:
    os.write(wire.end, b"x")

    terminal.relay(wire.master, wire.source, wire.sink, wire.ended)


def test_without_a_source(wire: Wire) -> None:
    os.write(wire.slave, b"text")
    os.write(wire.end, b"x")

    terminal.relay(wire.master, None, wire.sink, wire.ended)

    assert os.read(wire.screen, 10) == b"text"


def test_the_end_of_the_source_is_not_the_end(wire: Wire) -> None:
    wire.drop("keyboard")
    wire.thread.start()

    os.write(wire.slave, b"still")

    assert os.read(wire.screen, 10) == b"still"


def test_more_than_the_terminal_takes_at_once(wire: Wire) -> None:
    """Nobody reads inside for a while; text still comes out meanwhile, and no key is lost."""
    wire.thread.start()
    keys = bytes(range(32, 96)) * 1024
    writer = threading.Thread(target=os.write, args=(wire.keyboard, keys))
    writer.start()

    os.write(wire.slave, b"text")
    assert os.read(wire.screen, 10) == b"text"
    got = b""
    while len(got) < len(keys):
        got += os.read(wire.slave, 65536)
    writer.join()

    assert got == keys


def test_a_screen_that_is_gone(wire: Wire) -> None:
    wire.drop("screen")
    os.write(wire.slave, b"text")
    os.write(wire.end, b"x")

    terminal.relay(wire.master, wire.source, wire.sink, wire.ended)


def test_raw_and_back() -> None:
    master, slave = os.openpty()
    try:
        before = termios.tcgetattr(slave)
        with pytest.raises(KeyboardInterrupt), terminal.raw(slave):
            assert not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ISIG)
            raise KeyboardInterrupt

        assert termios.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)


def test_raw_leaves_what_is_no_terminal_alone() -> None:
    ours, theirs = os.pipe()
    with terminal.raw(ours):
        pass
    os.close(ours)
    os.close(theirs)


def test_size_is_followed() -> None:
    users_master, users = os.openpty()
    master, slave = os.openpty()
    before = signal.getsignal(signal.SIGWINCH)
    try:
        terminal.resize(users, 10, 20)
        with terminal.following(master, users):
            assert terminal.size_of(slave) == (10, 20)
            terminal.resize(users, 30, 40)
            signal.raise_signal(signal.SIGWINCH)
            assert terminal.size_of(slave) == (30, 40)

        assert signal.getsignal(signal.SIGWINCH) == before
    finally:
        for fd in (users_master, users, master, slave):
            os.close(fd)


def test_a_size_that_is_not_known() -> None:
    ours, theirs = os.pipe()
    master, slave = os.openpty()
    try:
        assert terminal.size_of(ours) is None
        with terminal.following(master, ours):
            assert terminal.size_of(slave) is None
    finally:
        for fd in (ours, theirs, master, slave):
            os.close(fd)
