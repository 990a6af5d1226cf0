"""Bytes to and from a process, until it ends.

Law: moves bytes, and waits.  What it waits with is the caller's choice: poll(2) or asyncio.  A
process has ended when it has, not when its pipes have: what it left in them is still taken, what
its own children write later is not waited for.
"""

from __future__ import annotations

import os
import select
import time

from .process import areadable, close_quietly, milliseconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, Final, Protocol

    class Talking(Protocol):
        """A process, as far as its pipes and its end are concerned."""

        pidfd: int
        stdin: BinaryIO | None
        stdout: BinaryIO | None
        stderr: BinaryIO | None


CHUNK: Final = 65536


class Sink:
    """Reads one pipe to its end; keeps `limit_bytes`, and reads on so that the writer goes on."""

    def __init__(self, file: BinaryIO, limit_bytes: int | None) -> None:
        self.file = file
        self.cut = False
        self._parts: list[bytes] = []
        self._room = limit_bytes
        os.set_blocking(file.fileno(), False)

    def ready(self) -> bool:
        """Take what is there; whether there may be more later."""
        while True:
            try:
                data = os.read(self.file.fileno(), CHUNK)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._keep(data)

    def content(self) -> bytes:
        return b"".join(self._parts)

    def _keep(self, data: bytes) -> None:
        if self._room is not None:
            self.cut = self.cut or len(data) > self._room
            data = data[: self._room]
            self._room -= len(data)
        if data:
            self._parts.append(data)


class Source:
    """Writes one pipe until all is written, or nobody reads any more."""

    def __init__(self, file: BinaryIO, data: bytes) -> None:
        self.file = file
        self._left = memoryview(data)
        os.set_blocking(file.fileno(), False)

    def ready(self) -> bool:
        """Write what fits; whether there is more to write."""
        try:
            while self._left:
                self._left = self._left[os.write(self.file.fileno(), self._left[:CHUNK]) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return False


class Pump:
    """The pipes of one process.  A stdin that gets no `data` is left alone; so are pipes that
    `take` does not ask for."""

    def __init__(
        self,
        process: Talking,
        data: bytes | None = None,
        *,
        take: bool = True,
        limit_bytes: int | None = None,
    ) -> None:
        self._process = process
        self._open: dict[int, Sink | Source] = {}
        self.sinks: list[Sink | None] = [None, None]
        if data is not None and process.stdin is not None and not process.stdin.closed:
            self._add(Source(process.stdin, data))
        for index, file in enumerate((process.stdout, process.stderr)):
            if take and file is not None and not file.closed:
                self.sinks[index] = sink = Sink(file, limit_bytes)
                self._add(sink)

    @property
    def stdout(self) -> bytes | None:
        return self.sinks[0].content() if self.sinks[0] is not None else None

    @property
    def stderr(self) -> bytes | None:
        return self.sinks[1].content() if self.sinks[1] is not None else None

    @property
    def cut(self) -> bool:
        """Whether something was dropped for want of room."""
        return any(sink is not None and sink.cut for sink in self.sinks)

    def run(self, deadline: float | None) -> bool:
        """Until the process has ended: True; or until `deadline`, of time.monotonic: False."""
        poll = select.poll()
        poll.register(self._process.pidfd, select.POLLIN)
        for fd, pipe in self._open.items():
            poll.register(fd, select.POLLOUT if isinstance(pipe, Source) else select.POLLIN)
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            ready = poll.poll(milliseconds(left))
            if not ready:
                return False
            for fd, _ in ready:
                if fd in self._open and not self._go(fd):
                    poll.unregister(fd)
                    self._close(fd)
            if any(fd == self._process.pidfd for fd, _ in ready):
                self.drain()
                return True

    async def arun(self) -> None:
        """As `run`, for asyncio, without a deadline: cancel it."""
        from asyncio import get_running_loop

        loop = get_running_loop()

        def stop(fd: int) -> None:
            (loop.remove_writer if fd in writing else loop.remove_reader)(fd)

        def go(fd: int) -> None:
            if not self._go(fd):
                stop(fd)
                self._close(fd)

        writing = {fd for fd, pipe in self._open.items() if isinstance(pipe, Source)}
        for fd in self._open:
            (loop.add_writer if fd in writing else loop.add_reader)(fd, go, fd)
        try:
            await areadable(self._process.pidfd)
        finally:
            for fd in list(self._open):
                stop(fd)
        self.drain()

    def drain(self) -> None:
        """Take what the process left in its pipes, and close them."""
        for fd in list(self._open):
            if isinstance(self._open[fd], Sink):
                self._go(fd)
            self._close(fd)

    def _add(self, pipe: Sink | Source) -> None:
        self._open[pipe.file.fileno()] = pipe

    def _go(self, fd: int) -> bool:
        return self._open[fd].ready()

    def _close(self, fd: int) -> None:
        close_quietly(self._open.pop(fd).file)
