"""Signals, while a command waits for what it started.

Law: the first signal that comes before there is a process ends the start, as soon as that has come
to a point where nothing is left behind; the ones that come afterwards are the process's.  Nothing
here raises at an arbitrary place, unless the user insists: a second ^C before there is a process.

A container's first process is process 1 of its namespace: the kernel drops a signal for it that it
has no handler for (pid_namespaces(7)), so that ^C would do nothing.  Such a signal kills it here,
as it would have killed the process outside.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, Final, Protocol, Self

    from cgmgr.result import Result

    class Child(Protocol):
        """What signals are for."""

        @property
        def pid(self) -> int: ...
        def send_signal(self, number: int, /) -> None: ...


FORWARDED: Final = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGTERM,
    signal.SIGWINCH,
    signal.SIGCONT,
)
#: what a terminal sends to every process in its foreground, so to the child as well as to us
FROM_TERMINAL: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH)
#: those whose default is no end
HARMLESS: Final = (signal.SIGWINCH, signal.SIGCONT)
#: as of timeout(1)
TIMED_OUT: Final = 124
NOT_KNOWN: Final = 125


class Interrupted(KeyboardInterrupt):
    """The user insisted; `number` is the signal that was first."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Foreground:
    """Takes the signals for the length of a `with`, and passes them on once it knows to whom.

    `pending`: the first signal that came before that.  `killed_by`: a signal that process 1 had no
    handler for, so that it was killed instead.  `timeout_s` kills the child so long after it was
    begun to be followed; `timed_out` says that it did.

    Whoever waits meanwhile also waits for `wake`, which is readable after a signal: Python runs a
    handler only between two instructions of its own, so one for a signal that comes right before
    the wait would else run after it (signal.set_wakeup_fd).
    """

    def __init__(self, timeout_s: float | None = None) -> None:
        self.timeout_s = timeout_s
        self.timed_out = False
        self.pending: int | None = None
        self.killed_by: int | None = None
        self._child: Child | None = None
        self._kill: Callable[[], None] | None = None
        self._is_first = False
        self._is_beside = False
        self._over = False
        self._before: dict[int, Any] = {}
        self.wake = self._waker = self._waker_before = -1

    def __enter__(self) -> Self:
        self.wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._waker_before = signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in FORWARDED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._disarm()
        for number, action in self._before.items():
            signal.signal(number, action)
        signal.set_wakeup_fd(self._waker_before)
        os.close(self.wake)
        os.close(self._waker)

    def wait(self, pidfd: int) -> None:
        """Return once a process has ended; signals are taken meanwhile."""
        poll = select.poll()
        for fd in (pidfd, self.wake):
            poll.register(fd, select.POLLIN)
        while pidfd not in (ready := dict(poll.poll())):
            if self.wake in ready:
                drain(self.wake)

    def follow(
        self,
        child: Child,
        *,
        first: bool = False,
        beside: bool = False,
        kill: Callable[[], None] | None = None,
    ) -> None:
        """From now on signals are the child's.

        `first`: it is process 1 of a namespace.  `beside`: it is in our process group.  `kill` ends
        it and all that belongs to it, also where a v1 freezer holds it, which SIGKILL alone waits
        for.
        """
        self._kill = kill
        self._is_first = first
        self._is_beside = beside
        self._child = child
        if self.timeout_s is not None:
            signal.setitimer(signal.ITIMER_REAL, max(self.timeout_s, 0.000_001))
        if self.pending is not None:  # it came after the last look, before the child was known
            self._forward(child, self.pending)

    def finish(self) -> None:
        """The child has ended; what comes now would only keep us from cleaning up."""
        self._over = True
        self._disarm()

    def status(self, result: Result | None) -> int:
        """The exit status of the whole: that of what ended, or of why it did not begin."""
        if self.timed_out:
            return TIMED_OUT
        if result is None:
            return 128 + (self.pending or signal.SIGINT)
        if self.killed_by is not None and result.signal == signal.SIGKILL:
            return 128 + self.killed_by
        return NOT_KNOWN if result.returncode is None else result.returncode

    def _disarm(self) -> None:
        if self.timeout_s is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if self._over:
            return
        if self._child is not None:
            self._forward(self._child, number)
        elif number not in HARMLESS:
            if self.pending is not None:
                raise Interrupted(self.pending)
            self.pending = number

    def _forward(self, child: Child, number: int) -> None:
        if number == signal.SIGALRM and self.timeout_s is not None:
            self.timed_out = True
            self._end(child)
        elif self._is_beside and number in FROM_TERMINAL and in_foreground():
            return
        elif self._is_first and number not in HARMLESS and not handles(child.pid, number):
            self.killed_by = number
            self._end(child)
        else:
            child.send_signal(number)

    def _end(self, child: Child) -> None:
        if self._kill is not None:
            self._kill()
        else:
            child.send_signal(signal.SIGKILL)


def drain(wake: int) -> None:
    """Empty the pipe that says that signals came."""
    with contextlib.suppress(BlockingIOError):
        while os.read(wake, 512):
            pass


def in_foreground() -> bool:
    """Whether our process group is the one that has the terminal."""
    for fd in (0, 1, 2):
        try:
            return os.tcgetpgrp(fd) == os.getpgrp()
        except OSError:
            continue
    return False


def handles(pid: int, number: int) -> bool:
    """Whether a process catches, ignores or blocks a signal: whether it has a say in it.

    True also where it cannot be told.  Source: proc_pid_status(5), SigBlk, SigIgn and SigCgt.
    """
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as status:
            fields = dict(line.rstrip("\n").split(":", 1) for line in status if ":" in line)
        masks = [int(fields[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt")]
    except (OSError, KeyError, ValueError):
        return True
    return any(mask >> (number - 1) & 1 for mask in masks)
