"""The caller's side of its spawner: have one, the right one, and speak to it.

Law: one spawner a process, started on first use and again when it died, after a fork, and when the
calling thread is no longer what it was when the spawner was started (credentials, namespaces,
session, ...), because a new process inherits from the spawner what it should inherit from the
caller.  Nothing is known here of what is asked of it.  See `cgmgr.spawn.spawner` for the protocol.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import errno
import os
import sys

from cgmgr.errors import HostError, KernelError, kernel_error
from cgmgr.linux import MSG_DONTWAIT

from . import channel, interpreter
from .process import readable
from .spawner import CONTROL_FD, PARTING, REQUEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
    from typing import Any, Final

    from .spawner import Request
else:
    import _signal

#: how long one that is told to end may take for what it is at, in seconds
END_S: Final = 5.0
SCRIPT: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "spawner.py")

#: lines of /proc/thread-self/status that a clone inherits and a request does not carry
STATUS_KEYS: Final = (
    "Uid",
    "Gid",
    "Groups",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
)
#: fields of /proc/thread-self/stat, counted from the state (proc_pid_stat(5)): session, nice,
#: realtime priority, scheduling policy
PGRP: Final = 2
STAT_FIELDS: Final = (3, 16, 37, 38)
NAMESPACES: Final = (
    "cgroup",
    "ipc",
    "mnt",
    "net",
    "pid_for_children",
    "time_for_children",
    "user",
    "uts",
)


class Standing:
    """What the calling thread is at this moment, as far as a new process inherits it.

    `umask` and `pgid` go with every request; threads with the same `identity` can share a spawner.
    """

    __slots__ = ("identity", "pgid", "umask")

    def __init__(self) -> None:
        lines = _read("/proc/thread-self/status").splitlines()
        status = {key: value for key, _, value in (line.partition(":\t") for line in lines)}
        stat = _read("/proc/thread-self/stat").rpartition(")")[2].split()
        self.umask = int(status["Umask"], 8)
        self.pgid = int(stat[PGRP])
        self.identity = (
            *(status.get(key) for key in STATUS_KEYS),
            *(stat[field] for field in STAT_FIELDS),
            *(_link(f"/proc/thread-self/ns/{name}") for name in NAMESPACES),
            _link("/proc/thread-self/root"),
            _read("/proc/thread-self/cgroup"),
            _read("/proc/self/oom_score_adj"),
        )


class Spawner:
    """One running spawner."""

    __slots__ = ("control", "identity", "pid", "pidfd")

    def __init__(self, standing: Standing) -> None:
        self.identity = standing.identity
        self.control, theirs = channel.pair()
        try:
            self.pid = _boot(theirs.fileno())
            self.pidfd = os.pidfd_open(self.pid)
        except OSError as error:
            self.control.close()
            raise kernel_error("start spawner", sys.executable, error) from error
        except BaseException:
            self.control.close()
            raise
        finally:
            theirs.close()

    def close(self) -> None:
        """It finishes what it was asked for, and ends; nobody is killed for that."""
        with contextlib.suppress(OSError):
            channel.send(self.control, (PARTING,), flags=MSG_DONTWAIT)
        self.drop()

    def drop(self) -> None:
        """Close our end alone: somebody else has another."""
        self.control.close()

    def kill(self) -> None:
        """For one that does not answer: what it was asked for is not done."""
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                _signal.pidfd_send_signal(self.pidfd, _signal.SIGKILL)

    def reap(self, timeout: float) -> bool:
        """Whether it has ended; it then leaves no zombie."""
        if not readable(self.pidfd, timeout):
            return False
        with contextlib.suppress(ChildProcessError):  # SIGCHLD ignored, a wait for any child
            os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        self.forget()
        return True

    def forget(self) -> None:
        os.close(self.pidfd)
        self.pidfd = -1


class _State:
    """The spawner of this process, and those that are on their way out."""

    def __init__(self) -> None:
        self.lock = _thread.allocate_lock()
        self.spawner: Spawner | None = None
        self.retired: list[Spawner] = []


_state = _State()


def ask(standing: Standing, request: Request, fds: Sequence[int]) -> Spawner:
    """Send a request, and say to whom.  Whoever waits for the answer does so on a channel of its
    own, in `fds`.

    Raises `KernelError`, and `HostError` where no spawner can be had.
    """
    with _state.lock:
        for _ in range(2):
            spawner = _current(standing)
            try:
                channel.send(spawner.control, (REQUEST, request), fds)
            except (BrokenPipeError, ConnectionResetError):
                _retire()  # it was killed since; it has not read this request
            except OSError as error:
                raise kernel_error("ask spawner", sys.executable, error) from error
            else:
                return spawner
    raise KernelError(
        "ask spawner: it ends as soon as it is started",
        operation="ask spawner",
        path=sys.executable,
        errno=errno.EPIPE,
        hint=f"{sys.executable} -I -S {SCRIPT} 3<>/dev/null",
    )


def shutdown() -> None:
    """End the spawner, and wait for that; the next start gets a new one.

    Called at exit.  Call it before counting the children of this process.
    """
    with _state.lock:
        _retire()
        for spawner in _state.retired:
            if not spawner.reap(END_S):
                spawner.kill()
                spawner.reap(END_S)
        _state.retired.clear()


def give_up(spawner: Spawner) -> None:
    """Kill one that does not answer; the next start gets a new one."""
    with _state.lock:
        spawner.kill()
        if spawner is _state.spawner:
            _retire()


def pid() -> int | None:
    """The pid of this process's spawner, if it has one now."""
    spawner = _state.spawner
    return spawner.pid if spawner is not None else None


def _current(standing: Standing) -> Spawner:
    spawner = _state.spawner
    if spawner is not None and spawner.identity != standing.identity:
        _retire()
        spawner = None
    if spawner is None:
        spawner = _state.spawner = Spawner(standing)
        _state.retired = [old for old in _state.retired if not old.reap(0)]
    return spawner


def _retire() -> None:
    if _state.spawner is not None:
        _state.spawner.close()
        _state.retired.append(_state.spawner)
        _state.spawner = None


def _after_fork_in_child() -> None:
    """The parent's spawner ends when no copy of its socket is open; ours must not delay it."""
    global _state
    old, _state = _state, _State()
    spawners = [*old.retired, *((old.spawner,) if old.spawner is not None else ())]
    for spawner in spawners:
        spawner.drop()
        spawner.forget()


def _boot(control: int) -> int:
    """posix_spawn(3) of the script: by vfork, so that the caller's size does not matter."""
    if not sys.executable:
        raise HostError("start spawner: sys.executable is not set", operation="start spawner")
    actions: list[tuple[Any, ...]] = [
        (os.POSIX_SPAWN_DUP2, control, CONTROL_FD),
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, 0, 1),
        (os.POSIX_SPAWN_DUP2, 0, 2),
    ]
    every_signal = _signal.valid_signals()
    program, mounts = interpreter.program(CONTROL_FD + 2)
    # it closes what it has above CONTROL_FD once it runs, and is loaded by then
    actions.append((os.POSIX_SPAWN_DUP2, mounts, CONTROL_FD + 1))
    try:
        return os.posix_spawn(
            f"/proc/self/fd/{program}",
            [sys.executable, "-I", "-S", SCRIPT],
            {key: value for key, value in os.environ.items() if key == "LD_LIBRARY_PATH"},
            file_actions=actions,
            setsigmask=every_signal,
            setsigdef=every_signal - {_signal.SIGKILL, _signal.SIGSTOP},
        )
    finally:
        os.close(program)
        os.close(mounts)


def _read(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(
            f"read {path}: {os.strerror(error.errno or 0).lower()}",
            operation="read",
            path=path,
            errno=error.errno,
            hint="mount -t proc proc /proc",
        ) from error
    try:
        return os.read(fd, 65536).decode("utf-8", "surrogateescape")
    finally:
        os.close(fd)


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""  # a namespace that this kernel has not


atexit.register(shutdown)
os.register_at_fork(after_in_child=_after_fork_in_child)
