"""The user's terminal while a container has one: raw, relayed, resized, and given back.

Law: descriptors are the caller's; nothing is printed.  The container's side is
`cgmgr.runtime.console`.

Source: termios(3), ioctl_tty(2).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import struct
import termios
import threading
import tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Final

_CHUNK: Final = 4096  # PIPE_BUF: after POLLOUT a write of that much does not block


def size_of(fd: int) -> tuple[int, int] | None:
    """Rows and columns of a terminal; None where it is none, or does not know."""
    try:
        answer = fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return None
    rows, columns = struct.unpack("HHHH", answer)[:2]
    return (rows, columns) if rows and columns else None


def resize(master: int, rows: int, columns: int) -> None:
    """Set the size; the container's foreground processes get SIGWINCH."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@contextlib.contextmanager
def raw(fd: int) -> Generator[None]:
    """Raw mode, so that every key goes to the container, ^C too; as it was, afterwards.

    Nothing happens to a descriptor that is no terminal.
    """
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    tty.setraw(fd, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextlib.contextmanager
def following(master: int, fd: int) -> Generator[None]:
    """Give the container's terminal the size of `fd` now, and whenever that changes.

    Later changes are followed from the main thread only: Python takes signals nowhere else.
    """

    def follow(*_signal: object) -> None:
        size = size_of(fd)
        if size is not None:
            resize(master, *size)

    follow()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGWINCH, follow)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def relay(
    master: int, source: int | None, sink: int, ended: int, *, wake: int | None = None
) -> None:
    """Copy `source` to the container's terminal and that to `sink`, until `ended` polls readable
    (the pidfd of the container's first process) and what it had written is copied.

    Without a `source`, and after its end, nothing is sent.  Once a `sink` is closed, what comes out
    is dropped.  `wake` is a pipe that does not block, readable after a signal; it is emptied,
    so that Python gets to run the handler.
    """
    os.set_blocking(master, False)
    _Relay(master, source, sink, ended, wake).run()


class _Relay:
    """The two directions, each with the bytes that are on their way."""

    def __init__(
        self, master: int, source: int | None, sink: int, ended: int, wake: int | None
    ) -> None:
        self.master = master
        self.source = source
        self.sink: int | None = sink
        self.ended = ended
        self.wake = wake
        self.going_in = b""
        self.coming_out = b""
        self.hung_up = False

    def run(self) -> None:
        over = False
        while True:
            ready = self._poll(over)
            if over and not ready:
                return  # whatever else holds the terminal open has nothing to say
            over = over or self.ended in ready
            if self.wake is not None and self.wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.wake, _CHUNK)
            self._move(ready)

    def _poll(self, over: bool) -> dict[int, int]:
        """What can be moved now; when it is over, only what is left, without waiting for more."""
        poll = select.poll()
        if not over:
            poll.register(self.ended, select.POLLIN)
            if self.wake is not None:
                poll.register(self.wake, select.POLLIN)
            if self.source is not None and not self.going_in:
                poll.register(self.source, select.POLLIN)
        if self.coming_out and self.sink is not None:
            poll.register(self.sink, select.POLLOUT)
        reading = 0 if self.coming_out else select.POLLIN
        writing = select.POLLOUT if self.going_in and not over else 0
        if not self.hung_up and reading | writing:
            poll.register(self.master, reading | writing)
        return dict(poll.poll(0 if over and not self.coming_out else None))

    def _move(self, ready: dict[int, int]) -> None:
        source = self.source
        if source is not None and source in ready and not self.going_in:
            self.going_in = _read(source)
            if not self.going_in:
                self.source = None
        if self.going_in and ready.get(self.master, 0) & select.POLLOUT:
            with contextlib.suppress(BlockingIOError):
                self.going_in = self.going_in[os.write(self.master, self.going_in) :]
        if not self.coming_out and ready.get(self.master, 0) & (select.POLLIN | select.POLLHUP):
            self.coming_out = self._from_master()
        if self.coming_out:
            self._to_sink(ready)

    def _from_master(self) -> bytes:
        try:
            data = os.read(self.master, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno != errno.EIO:  # nobody has the other side open any more
                raise
            data = b""
        self.hung_up = not data
        return data

    def _to_sink(self, ready: dict[int, int]) -> None:
        if self.sink is not None and self.sink in ready:
            try:
                self.coming_out = self.coming_out[os.write(self.sink, self.coming_out) :]
            except BrokenPipeError:
                self.sink = None
        if self.sink is None:
            self.coming_out = b""


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except OSError as error:
        if error.errno != errno.EIO:  # the user's terminal is gone
            raise
        return b""
