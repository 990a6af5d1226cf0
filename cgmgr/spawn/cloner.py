"""What the spawner does: take requests, clone, tell the caller.

Law: one thread, few modules, little memory, so that what is cloned costs the group next to nothing.
No state is kept between requests, except modules of entries.  See `spawner` for the protocol
and the letters C, S and N.
"""

from __future__ import annotations

import _socket
import errno
import gc
import os
import resource
import sys

from cgmgr import linux

from .channel import close_all, receive, send
from .newborn import MOST_FD, Newborn, at, close_range, report
from .spawner import CLONE, CONTROL_FD, IMPORT, PARTING, STARTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Iterable
    from typing import Final, NoReturn

    from .spawner import Request
else:
    import _signal  # the module `signal` brings `enum`, which takes longer than all of this

#: clone3(2) says that it, or CLONE_INTO_CGROUP, is not to be had here: unknown, hidden by a seccomp
#: filter, a kernel before 5.7, or a group that takes no member that way; then N joins by itself
NOT_INTO: Final = frozenset(
    {errno.ENOSYS, errno.EINVAL, errno.E2BIG, errno.EBUSY, errno.EOPNOTSUPP}
)

#: SIGCANCEL and SIGSETXID of the C library
INTERNAL_SIGNALS: Final = (32, 33)


def main() -> NoReturn:
    """Serve requests until the caller is gone."""
    prepare()
    control = _socket.socket(fileno=CONTROL_FD)
    to_die: list[int] = []
    while True:
        try:
            message, fds = receive(control)
        except OSError as error:
            if error.errno != errno.EMFILE:
                os._exit(0)
            continue  # the channel was closed with the rest, which C sees as the end
        if message is None:
            kill_all(to_die)
            os._exit(0)
        if message[0] == PARTING:
            os._exit(0)
        request: Request = message[1]
        try:
            serve(request, fds)
            if request["die_with_caller"] and request["cgroup"]:
                to_die.append(os.dup(fds[request["cgroup"]]))
        finally:
            close_all(fds)


def kill_all(groups: Iterable[int]) -> None:
    """Kill all in these cgroup2 groups; one that is not there any more has nobody."""
    for directory in groups:
        try:
            fd = os.open("cgroup.kill", os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
            os.write(fd, b"1")
        except OSError:
            continue


def prepare() -> None:
    """Be what a new process should be, so that it has nothing left to undo.

    The caller has blocked every signal and set it to its default; Python has then set SIGINT,
    SIGPIPE and SIGXFSZ its own way, and a SIG_IGN would survive exec.
    """
    for number in (_signal.SIGINT, _signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    for internal in INTERNAL_SIGNALS:
        linux.rt_sigaction_default(internal)
    close_range(CONTROL_FD + 1, MOST_FD)
    linux.prctl_set_name("cgmgr-spawner")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    freeze_memory()


def freeze_memory() -> None:
    """No collection may visit every object, and so copy every page, in the clone."""
    gc.disable()
    gc.collect()
    gc.freeze()


def serve(request: Request, fds: list[int]) -> None:
    """Start one process and report it on the request's channel.  In N this does not return."""
    channel = _socket.socket(fileno=os.dup(fds[0]))
    stage = IMPORT
    try:
        entry = _load(request["entry"])
        stage = CLONE
        into = at(fds, request["cgroup"]) if request["into"] else -1
        beyond = at(fds, request["pid_namespace"])
        with ChildrenIn(beyond):
            pid, pidfd, joined = _clone(request["flags"], into, orphan=request["orphan"])
    except Exception as error:  # noqa: BLE001 - a module may fail in any way
        report(channel, stage, error)
        channel.close()
        return
    if not pid:
        try:
            Newborn(request, fds, channel, joined).live(entry)
        finally:
            os._exit(127)
    try:
        send(channel, (STARTED, pid, joined), (pidfd,))
    except OSError:
        # C went away, or has no room for descriptors: nobody would ever know of N
        _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
    finally:
        os.close(pidfd)
        channel.close()


def _load(entry: str) -> Callable[[bytes, list[int]], object] | None:
    if not entry:
        return None
    module, _, function = entry.partition(":")
    known = module in sys.modules
    __import__(module)
    if not known:
        freeze_memory()
    found: Callable[[bytes, list[int]], object] = getattr(sys.modules[module], function)
    return found


class ChildrenIn:
    """What is cloned meanwhile begins in another pid namespace; -1 is none.  S stays where it is,
    as setns(2) has it for this one kind, and itself is what it goes back to."""

    def __init__(self, namespace: int) -> None:
        self.namespace = namespace
        self.pid = os.getpid()

    def __enter__(self) -> None:
        if self.namespace >= 0:
            linux.setns(self.namespace, linux.CLONE_NEWPID)

    def __exit__(self, *_exc: object) -> None:
        if self.namespace < 0 or os.getpid() != self.pid:
            return
        itself = os.pidfd_open(self.pid)
        try:
            linux.setns(itself, linux.CLONE_NEWPID)
        finally:
            os.close(itself)


def _clone(flags: int, cgroup: int, *, orphan: bool) -> tuple[int, int, bool]:
    """pid, pidfd, and whether N is in the cgroup2 group already.

    exit_signal must be 0 with CLONE_PARENT: N inherits S's, SIGCHLD.  The kernel reaps a child by
    itself only where that is its exit signal.
    """
    number = 0
    if orphan:
        number = _signal.SIGCHLD
        linux.rt_sigaction_default(number, linux.SA_NOCLDWAIT)
    else:
        flags |= linux.CLONE_PARENT
    if cgroup >= 0:
        into = flags | linux.CLONE_INTO_CGROUP
        try:
            return *linux.clone3(into, exit_signal=number, cgroup=cgroup), True
        except OSError as error:
            if error.errno not in NOT_INTO:
                raise
    try:
        return *linux.clone3(flags, exit_signal=number), False
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
    return *linux.clone(flags | number), False
