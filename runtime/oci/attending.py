"""Waiting for a program in the foreground: signals go to it, its terminal is ours.

Law: from a first process that waits to an exit status.  Signals come as bytes of a pipe
(signal.set_wakeup_fd), so that none interrupts anything else, and none is missed before a wait.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal

from cgmgr.errors import RequestError
from cgmgr.runtime import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Final

    from cgmgr.runtime.launcher import Init
    from cgmgr.spawn.process import Ended

#: passed on; SIGCHLD and SIGURG are about this process, SIGPIPE and the faults come of its own acts
FORWARDED: Final = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGALRM,
        signal.SIGTERM,
        signal.SIGCONT,
        signal.SIGTSTP,
    }
)


def check_console(*, asked: bool, socket: str, detached: bool) -> None:
    """Whether a terminal can be had: one that nobody holds is sent to a socket.  Raises
    `RequestError` in the words that clients' users know from runc."""
    if asked and detached and not socket:
        raise RequestError(
            "cannot allocate tty if cgmgr-oci will detach without setting console socket",
            operation="make terminal",
            hint="--console-socket",
        )
    if socket and not (asked and detached):
        raise RequestError(
            "cannot use console socket if cgmgr-oci will not detach or allocate tty",
            operation="make terminal",
            value=socket,
        )


@contextlib.contextmanager
def signals() -> Generator[int]:
    """A descriptor from which the numbers of signals are read that are to be passed on."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    actions = {
        number: signal.signal(number, _noted)
        for number in FORWARDED
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield reader
    finally:
        for number, action in actions.items():
            signal.signal(number, action)
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


def _noted(_number: int, _frame: object) -> None:
    """The byte in the pipe says it."""


def attend(init: Init, source: int, start: Callable[[], None]) -> int:
    """Let it execute its program, and wait for its end: the exit status to end with.  `source` is
    that of `signals`."""
    if init.terminal < 0:
        start()
        _wait(init, source)
    else:
        with terminal.following(init.terminal, 0), terminal.raw(0):
            start()
            terminal.relay(init.terminal, 0, 1, init.process.pidfd, wake=source)
    return status_of(init.process.wait_ended())


def _wait(init: Init, source: int) -> None:
    poll = select.poll()
    for fd in (source, init.process.pidfd):
        poll.register(fd, select.POLLIN)
    while init.process.pidfd not in (ready := dict(poll.poll())):
        if source in ready:
            with contextlib.suppress(BlockingIOError):
                for number in os.read(source, select.PIPE_BUF):
                    if number in FORWARDED:
                        init.process.send_signal(number)


def status_of(ended: Ended) -> int:
    """As a shell has it: 128 and the signal's number for a program that one has ended."""
    if ended.signal is not None:
        return 128 + ended.signal
    return ended.exit if ended.exit is not None else 255
