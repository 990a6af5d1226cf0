"""A parent for the test run that adopts and reaps whatever the tests orphan.

Law: nothing of cgmgr is imported here.

A container's monitor or a killed program's children lose their parent on purpose.  On a host they
fall to PID 1, which reaps them; here they would fall to whatever PID 1 happens to be and be lost to
the count at the end.  So the run is forked once: the parent becomes a child subreaper (prctl(2)),
reaps like an init and leaves as the child left; the child is the run itself.
"""

import ctypes
import os
import signal
from types import FrameType
from typing import NoReturn

# /usr/include/linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_FORWARDED = (signal.SIGTERM, signal.SIGHUP)
_LEFT_TO_CHILD = (signal.SIGINT, signal.SIGQUIT)  # the terminal sends them to both


def supervise() -> int:
    """Go on in a child of this process and return the pid of the parent that watches over it."""
    parent = os.getpid()
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    child = os.fork()
    if child == 0:
        _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)
        return parent
    _leave_as(_reap_until_exit_of(child))


def finish_on_sigterm() -> None:
    """From now on the first SIGTERM ends the run as ^C does: what tests made is taken down.

    The ones after it are dropped, so that they do not cut this short.  A fork of the run is none,
    and ends as it would without this.
    """
    run = os.getpid()

    def drop(_signum: int, _frame: FrameType | None) -> None:
        """No SIG_IGN, which programs that are started afterwards would inherit."""

    def interrupt(signum: int, _frame: FrameType | None) -> None:
        if os.getpid() != run:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        signal.signal(signum, drop)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _reap_until_exit_of(child: int) -> int:
    """The wait status of `child`; every other process that ends meanwhile is reaped."""

    def forward(signum: int, _frame: FrameType | None) -> None:
        os.kill(child, signum)

    for signum in _FORWARDED:
        signal.signal(signum, forward)
    for signum in _LEFT_TO_CHILD:
        signal.signal(signum, signal.SIG_IGN)
    while True:
        pid, status = os.wait()
        if pid == child:
            return status


def _leave_as(status: int) -> NoReturn:
    """End this process as `status` tells, without its exit handlers: the child ran them."""
    if os.WIFSIGNALED(status):
        signum = os.WTERMSIG(status)
        if signum not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _prctl(option: int, argument: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
