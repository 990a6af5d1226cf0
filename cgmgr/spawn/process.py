"""A process that was started: wait for it, signal it, learn how it ended.

Law: everything goes through the pidfd, so that no other process can be meant, ever.  Nothing is
known here of groups, nor of how a process comes to be (`cgmgr.spawn`).  Every method may be called
from any thread, except `close` while another one waits.
"""

from __future__ import annotations

import _thread
import contextlib
import errno
import os
import select
import time

from cgmgr import linux
from cgmgr.errors import DeadlineExceeded, RaceError, RequestError
from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, Self

    from .birth import Birth
    from .request import Placement
    from .streams import Pump


_MOST_MS = (1 << 31) - 1


class Ended(Record):
    """How a process ended: with an exit status, or by a signal.

    Neither is known where somebody else took the status (SIGCHLD ignored, a wait for any child) and
    the kernel does not keep it (Linux 6.15 does)."""

    exit: int | None = None
    signal: int | None = None
    core_dumped: bool = False

    @property
    def returncode(self) -> int | None:
        """As a shell has it: the exit status, 128 + n for signal n."""
        return 128 + self.signal if self.signal is not None else self.exit

    @classmethod
    def of_status(cls, status: int) -> Self:
        """From a wait status (waitpid(2))."""
        if os.WIFSIGNALED(status):
            return cls(signal=os.WTERMSIG(status), core_dumped=os.WCOREDUMP(status))
        return cls(exit=os.WEXITSTATUS(status))


class Child:
    """A child of this process: what needs no waiting.  `Process` waits by blocking, and
    `cgmgr.spawn.AsyncProcess` as asyncio does.

    `pid`; `pidfd`, which polls readable once it has ended; `stdin`, `stdout`, `stderr`: buffered
    binary files of ours where PIPE was asked for, else None.  `floors` is what the files
    of `Placement.floor_fds` said right before exec; None if it never came that far.
    """

    def __init__(self, birth: Birth) -> None:
        self.pid = birth.pid
        self.pidfd = birth.pidfd
        self.stdin, self.stdout, self.stderr = birth.take_files()
        self._birth = birth
        self._ended: Ended | None = birth.ended
        self._ended_ns = time.monotonic_ns() if birth.ended is not None else 0
        self._lock = _thread.allocate_lock()
        self._pump: Pump | None = None

    def __repr__(self) -> str:
        state = "running" if self._ended is None else f"ended {self.returncode}"
        return f"{type(self).__name__}(pid={self.pid}, {state})"

    def fileno(self) -> int:
        return self.pidfd

    @property
    def floors(self) -> tuple[bytes, ...] | None:
        return self._birth.floors

    @property
    def ended(self) -> Ended | None:
        """How it ended; None while it runs."""
        if self._ended is None and readable(self.pidfd, 0):
            self._reap()
        return self._ended

    @property
    def returncode(self) -> int | None:
        """As a shell has it, 128 + n for signal n; None while it was not seen to have ended."""
        return self._ended.returncode if self._ended is not None else None

    @property
    def wall_usec(self) -> int | None:
        """From exec, just before `floors`, until it was seen to have ended; None before."""
        began = self._birth.began_ns
        return (self._ended_ns - began) // 1000 if began and self._ended_ns else None

    def poll(self) -> int | None:
        """`returncode`, after looking whether it has ended."""
        ended = self.ended
        return ended.returncode if ended is not None else None

    def send_signal(self, number: int) -> None:
        """Signal it; without effect once it has ended."""
        import signal

        with self._lock:
            if self._ended is None and self.pidfd >= 0:
                try:
                    signal.pidfd_send_signal(self.pidfd, number)
                except ProcessLookupError:
                    return

    def kill(self) -> None:
        """SIGKILL, to this process alone; its group is `Group.kill`."""
        self.send_signal(9)

    def close(self) -> None:
        """Close our files and the pidfd; twice does no harm.  The process goes on if it still runs,
        and is reaped at some later start."""
        self._close_files()
        self._birth.close()
        with self._lock:
            if self.pidfd >= 0:
                if self._ended is None and not self._birth.request.orphan:
                    orphans.append(os.dup(self.pidfd))
                os.close(self.pidfd)
                self.pidfd = -1

    def __del__(self) -> None:
        if hasattr(self, "_lock"):
            self.close()

    def _close_files(self) -> None:
        for file in (self.stdin, self.stdout, self.stderr):
            if file is not None:
                close_quietly(file)

    def _known(self, ended: Ended) -> int:
        if ended.returncode is None:
            raise RaceError(
                f"the exit status of process {self.pid} was taken by somebody else",
                operation="wait",
                value=str(self.pid),
                errno=errno.ECHILD,
                hint="signal.signal(signal.SIGCHLD, signal.SIG_DFL) # do not wait for it",
            )
        return ended.returncode

    def _reap(self) -> Ended:
        """How it ended, once its pidfd says that it has."""
        with self._lock:
            if self._ended is None:
                self._ended = reap(self.pidfd)
                self._ended_ns = time.monotonic_ns()
            return self._ended

    def _pump_for(self, data: bytes | None) -> Pump:
        """One for the whole life, so that nothing is lost between two calls of `communicate`."""
        if self._pump is None:
            from .streams import Pump

            if self.stdin is not None and not self.stdin.closed:
                with contextlib.suppress(BrokenPipeError):
                    self.stdin.flush()
            self._pump = Pump(self, data or b"")
        elif data:
            raise RequestError("input was given before", operation="communicate")
        return self._pump


class Process(Child):
    """A process made by `cgmgr.spawn.start`; what waits for it blocks the thread.

    As a context manager it waits at the end, and kills first when the body raised.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_exc: object) -> None:
        if kind is not None:
            self.kill()
        try:
            self._close_files()
            self.wait_ended()
        finally:
            self.close()

    def release(self, placement: Placement | None = None, timeout: float | None = None) -> None:
        """Let a process go on that was started with `hold`, into these groups as well, and return
        once it has executed the program.

        If it cannot, it is reaped, and this raises what `cgmgr.spawn.start` raises.
        `DeadlineExceeded` after `timeout` seconds: it is then still there.
        """
        self.let_go(placement)
        self.wait_executed(timeout)

    def let_go(self, placement: Placement | None = None) -> None:
        """The first half of `release`: it goes on while the caller does."""
        self._birth.release(placement)

    def wait_executed(self, timeout: float | None = None) -> None:
        """The second half of `release`."""
        self._birth.wait(None if timeout is None else time.monotonic() + timeout, "over")
        failure = self._birth.failure
        if failure is not None:
            self.wait_ended()
            self.close()
            raise failure

    def wait(self, timeout: float | None = None) -> int:
        """`returncode`, once it has ended.

        Raises `DeadlineExceeded` after `timeout` seconds, `RaceError` where somebody else took the
        exit status.
        """
        return self._known(self.wait_ended(timeout))

    def wait_ended(self, timeout: float | None = None) -> Ended:
        """As `wait`, but how it ended; what is not known is None in it."""
        if self._ended is None and not readable(self.pidfd, timeout):
            raise self._still_runs("wait", timeout)
        return self._reap()

    def communicate(
        self, input: bytes | None = None, timeout: float | None = None
    ) -> tuple[bytes | None, bytes | None]:
        """Write `input` to its standard input, close that, and take what it writes until it has
        ended: what came from standard output and error, None where that is no pipe.

        What its own children write later is not waited for.  Raises `DeadlineExceeded` after
        `timeout` seconds: nothing is lost then, call it again, without input.
        """
        pump = self._pump_for(input)
        if not pump.run(None if timeout is None else time.monotonic() + timeout):
            raise self._still_runs("communicate", timeout)
        self.wait_ended()
        return pump.stdout, pump.stderr

    def _still_runs(self, operation: str, timeout: float | None) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"process {self.pid} still runs after {timeout or 0:g} s",
            operation=operation,
            value=str(self.pid),
            errno=errno.ETIMEDOUT,
        )


#: pidfds of children that nobody holds any more; reaped at the next start
orphans: list[int] = []


def reap_orphans() -> None:
    """Take the exit status of processes whose `Process` was dropped."""
    for _ in range(len(orphans)):
        try:
            pidfd = orphans.pop(0)  # at once, so that no other thread has the same
        except IndexError:
            return
        if readable(pidfd, 0):
            reap(pidfd)
            os.close(pidfd)
        else:
            orphans.append(pidfd)


def reap(pidfd: int) -> Ended:
    """The end of a child that has ended."""
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | linux.WALL)
    except ChildProcessError:
        status = linux.pidfd_exit_status(pidfd)
        return Ended() if status is None else Ended.of_status(status)
    assert result is not None
    if result.si_code == os.CLD_EXITED:
        return Ended(exit=result.si_status)
    return Ended(signal=result.si_status, core_dumped=result.si_code == os.CLD_DUMPED)


def readable(fd: int, timeout: float | None, *, only_end: bool = False) -> bool:
    """Wait until a descriptor is readable, or `timeout` seconds; whether it is.

    With `only_end` until the other end is closed: what comes before wakes nobody.
    """
    poll = select.poll()
    poll.register(fd, 0 if only_end else select.POLLIN)
    return bool(poll.poll(milliseconds(timeout)))


def milliseconds(timeout: float | None) -> float | None:
    """Seconds as poll(2) takes them; 24 days and more are for ever."""
    if timeout is None or timeout * 1000 > _MOST_MS:
        return None
    return max(timeout, 0) * 1000


async def areadable(fd: int) -> None:
    """As `readable`, for asyncio: on a copy, because a loop takes one reader a descriptor."""
    from asyncio import get_running_loop

    loop = get_running_loop()
    ready = loop.create_future()
    copy = os.dup(fd)

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(copy, wake)
    try:
        await ready
    finally:
        loop.remove_reader(copy)
        os.close(copy)


def close_quietly(file: BinaryIO) -> None:
    """Close a pipe; what a dead reader will not take is lost anyway."""
    try:
        file.close()
    except BrokenPipeError:
        return
