"""A new process, from its first instruction to its last before exec.

Law: runs in a clone of the spawner, inside the group, so every page that it touches and every
module that it loads is charged to the payload: nothing is imported late, little is allocated.
Every stage is one thing; the first that fails ends the process, and the caller is told which.
See `cgmgr.spawn.spawner` for the protocol and the letters C, S and N.
"""

from __future__ import annotations

import _socket
import errno
import os
import resource
import sys
import time

from cgmgr import linux

from . import floors
from .channel import close_all, receive, send
from .spawner import DIRECTORY, EXEC, FAILED, HELD, JOIN, PIDS, READY, RLIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Iterable, Sequence
    from typing import Final, NoReturn

    from .spawner import Request
else:
    import _signal

#: no descriptor has a higher number (close_range(2))
MOST_FD: Final = (1 << 31) - 1
#: a task that has not run yet cannot be moved: TASK_NEW, EINVAL from cpu_cgroup_can_attach
JOIN_TRIES: Final = 5
JOIN_PAUSE_S: Final = 0.03
#: no keys in this kernel, or a seccomp filter without them
NO_KEYRING: Final = frozenset({errno.ENOSYS, errno.EPERM})
#: execvp(3) goes on to the next folder of PATH after these
NEXT_FOLDER: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES})


class Newborn:
    """The new process, from its first instruction until exec.

    `STAGES` are run in their order; the first that raises ends it, with FAILED and its name.
    """

    def __init__(
        self, request: Request, fds: list[int], channel: _socket.socket, joined: bool
    ) -> None:
        self.request = request
        self.channel = channel
        self.joined = joined
        numbers = {number for _, number in request["place"]}
        self.fds = [_clear_of(fd, numbers) for fd in fds]
        if channel.fileno() in numbers:
            self.channel = _socket.socket(fileno=_clear_of(channel.detach(), numbers))
        self.floor_fds = [self.fds[index] for index in request["floors"]]
        self.limited = [(path, self.fds[index]) for path, index in request["pids"]]
        self.detail = b""
        self.cwd_again = False

    def live(self, entry: Callable[[bytes, list[int]], object] | None) -> NoReturn:
        """Everything between clone and exec; with an entry, call that instead of exec."""
        stage = ""
        try:
            for name, act in STAGES:
                stage = name
                act(self)
            stage = EXEC
            if entry is None:
                self.execute()
            self.call(entry)
        except BaseException as error:  # noqa: BLE001 - the caller is told whatever it was
            report(self.channel, stage, error, self.detail)
        finally:
            os._exit(127)

    # the stages

    def join(self) -> None:
        """Join the groups, cgroup2 first where clone3 could not."""
        request = self.request
        directory = at(self.fds, request["cgroup"])
        if directory >= 0 and not self.joined:
            self.detail = b"-1"
            _join(os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory))
        self._join_all([self.fds[index] for index in request["procs"]])

    def _join_all(self, procs: Sequence[int]) -> None:
        for position, fd in enumerate(procs):
            self.detail = b"%d" % position
            _join(fd)
        self.detail = b""

    def count_tasks(self) -> None:
        """Hold pids.max: the kernel holds it when a task is cloned, not when one joins."""
        limited, self.limited = self.limited, []
        if self.joined and self.request["pids_by_clone"]:
            return
        for path, fd in limited:
            self.detail = path
            if _is_too_full(fd):
                self.detail = b"%b %b" % (path, _read(fd, "pids.max"))
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.detail = b""

    def wait_for_release(self) -> None:
        """Where held: until C says where else to go.  C gone means that N was never wanted."""
        if not self.request["hold"]:
            return
        send(self.channel, (HELD,))
        message, fds = receive(self.channel)
        if message is None:
            os._exit(127)
        numbers = {number for _, number in self.request["place"]}
        fds = [_clear_of(fd, numbers) for fd in fds]
        _, count, paths = message
        self._join_all(fds[:count])
        self.limited = list(zip(paths, fds[count:], strict=False))
        self.floor_fds = fds[count + len(paths) :]

    def spread(self) -> None:
        """Any CPU: the kernel keeps to those of the cpuset.  C's own affinity is C's business."""
        linux.sched_setaffinity_all()

    def new_cgroup_namespace(self) -> None:
        """Not by clone3: the namespace's root is where the process is at that moment."""
        if self.request["cgroup_namespace"]:
            linux.unshare(linux.CLONE_NEWCGROUP)

    def new_keyring(self) -> None:
        if not self.request["new_keyring"]:
            return
        try:
            linux.keyctl_join_session_keyring()
        except OSError as error:
            if error.errno not in NO_KEYRING:
                raise

    def enter_session(self) -> None:
        """A session of its own, or else C's process group, which S may not be in any more."""
        if self.request["new_session"]:
            os.setsid()
        elif os.getpgrp() not in (0, self.request["pgid"]):  # 0: outside a new pid namespace
            os.setpgid(0, self.request["pgid"])

    def set_rlimits(self) -> None:
        for which, soft, hard in self.request["rlimits"]:
            if resource.getrlimit(which) != (soft, hard):
                self.detail = b"%d" % which
                resource.setrlimit(which, (soft, hard))
        self.detail = b""

    def enter_directory(self) -> None:
        """As C may, before credentials change; where C may not, the new user may (NFS, FUSE)."""
        here = at(self.fds, self.request["here"])
        if here >= 0:
            os.fchdir(here)
        try:
            self._chdir()
        except PermissionError:
            if self.request["uid"] is None:
                raise
            self.cwd_again = True

    def _chdir(self) -> None:
        if self.request["cwd"] is not None:
            os.chdir(self.request["cwd"])

    def set_credentials(self) -> None:
        request = self.request
        if request["groups"] is not None:
            os.setgroups(request["groups"])
        if request["gid"] is not None:
            os.setresgid(request["gid"], request["gid"], request["gid"])
        if request["uid"] is not None:
            os.setresuid(request["uid"], request["uid"], request["uid"])

    def enter_directory_again(self) -> None:
        if self.cwd_again:
            self._chdir()

    def die_with_caller(self) -> None:
        """After credentials, whose change clears it.  A caller that is dead by now hears no READY,
        which ends this process too."""
        if self.request["die_with_caller"]:
            linux.prctl(linux.PR_SET_PDEATHSIG, _signal.SIGKILL)

    def set_umask(self) -> None:
        os.umask(self.request["umask"])

    def place_descriptors(self) -> None:
        """Put descriptors at their numbers, and close all others but those that exec closes."""
        place = self.request["place"]
        for index, number in place:
            os.dup2(self.fds[index], number)
        keep = {number for _, number in place} | {self.channel.fileno(), *self.floor_fds}
        first = 0
        for number in sorted(keep):
            close_range(first, number - 1)
            first = number + 1
        close_range(first, MOST_FD)

    def take_floors(self) -> None:
        """The last before exec: what was used until here is ours, not the payload's."""
        began_ns = time.monotonic_ns()  # by the caller it would be when that is next scheduled
        send(self.channel, (READY, floors.taken(self.floor_fds), began_ns))

    def unblock_signals(self) -> None:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())

    # the end of it

    def execute(self) -> NoReturn:
        """execvpe(3), except that an empty entry of PATH is not the current folder."""
        request = self.request
        program, env = request["program"], request["env"]
        self.detail = program
        found: OSError | None = None
        for path in _candidates(program, env):
            try:
                os.execve(path, request["argv"], env)
            except OSError as error:
                if error.errno not in NEXT_FOLDER:
                    raise
                if found is None or error.errno == errno.EACCES:
                    found = error
        raise found or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def call(self, entry: Callable[[bytes, list[int]], object]) -> NoReturn:
        request = self.request
        linux.rt_sigaction_default(_signal.SIGCHLD)  # it may have children; exec does the same
        close_all(self.floor_fds)
        self.channel.close()
        try:
            entry(request["data"], request["handed"])
        except BaseException as error:  # noqa: BLE001 - an entry has no caller to tell
            sys.excepthook(type(error), error, error.__traceback__)
        os._exit(255)


STAGES: Final[tuple[tuple[str, Callable[[Newborn], None]], ...]] = (
    (JOIN, Newborn.join),
    (PIDS, Newborn.count_tasks),
    (JOIN, Newborn.wait_for_release),
    (PIDS, Newborn.count_tasks),
    ("set affinity", Newborn.spread),
    ("unshare cgroup namespace", Newborn.new_cgroup_namespace),
    ("join session keyring", Newborn.new_keyring),
    ("set session", Newborn.enter_session),
    (RLIMIT, Newborn.set_rlimits),
    (DIRECTORY, Newborn.enter_directory),
    ("set credentials", Newborn.set_credentials),
    (DIRECTORY, Newborn.enter_directory_again),
    ("die with the caller", Newborn.die_with_caller),
    ("set umask", Newborn.set_umask),
    ("place descriptors", Newborn.place_descriptors),
    ("set signal mask", Newborn.unblock_signals),
    ("reset peak", Newborn.take_floors),
)


def report(channel: _socket.socket, stage: str, error: BaseException, detail: bytes = b"") -> None:
    """FAILED; without effect where C is gone."""
    number = error.errno if isinstance(error, OSError) else 0
    text = f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace")
    try:
        send(channel, (FAILED, stage, number or 0, detail, text))
    except OSError:
        return


def at(fds: Sequence[int], index: int) -> int:
    """The descriptor at an index of a request; index 0, the channel's, stands for none."""
    return fds[index] if index else -1


def _clear_of(fd: int, numbers: set[int]) -> int:
    """The same description under a number that is not in `numbers`; the copies passed are closed
    with all others later."""
    while fd in numbers:
        fd = os.dup(fd)
    return fd


def _join(fd: int) -> None:
    for left in reversed(range(JOIN_TRIES)):
        try:
            os.write(fd, b"0")
        except OSError as error:
            if error.errno != errno.EINVAL or not left:
                raise
            time.sleep(JOIN_PAUSE_S)
        else:
            return


def _is_too_full(directory: int) -> bool:
    for _ in range(JOIN_TRIES):  # a fork that is about to be refused is counted for a moment
        most = _read(directory, "pids.max")
        if most == b"max" or int(_read(directory, "pids.current")) <= int(most):
            return False
    return True


def _read(directory: int, file: str) -> bytes:
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(fd, 32).strip()
    finally:
        os.close(fd)


def close_range(first: int, last: int) -> None:
    if first > last:
        return
    try:
        linux.close_range(first, last)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        os.closerange(first, min(last, os.sysconf("SC_OPEN_MAX")) + 1)


def _candidates(program: bytes, env: dict[bytes, bytes]) -> Iterable[bytes]:
    if b"/" in program:
        return (program,)
    folders = env.get(b"PATH", os.fsencode(os.defpath)).split(b":")
    return (folder + b"/" + program for folder in folders if folder)
