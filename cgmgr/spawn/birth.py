"""One start under way: the request as the spawner takes it, and what its channel says.

Law: C's half of the protocol of `spawner`, each message put and read in one place, and a
failure's words are `failure`'s.  What may be asked for is in `cgmgr.spawn`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time

from cgmgr import linux
from cgmgr.errors import (
    CgmgrError,
    DeadlineExceeded,
    HostError,
    KernelError,
    RequestError,
    kernel_error,
)

from . import channel, link
from .failure import failure, program_of
from .plumbing import Plumbing
from .process import Ended, areadable, orphans, readable, reap
from .spawner import FAILED, HELD, READY, RELEASE, STARTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Mapping
    from typing import Any, BinaryIO, Final

    from .request import Placement, SpawnRequest, Word
    from .spawner import Request, Words

#: RLIMIT_CPU to RLIMIT_RTTIME (asm-generic/resource.h)
RLIMITS: Final = range(16)
SIGKILL: Final = 9
#: how long the end of a process is waited for that nobody wants any more, in seconds
ABANDON_S: Final = 1.0


#: how far a start has come: the pid is known; it waits in its groups; it has executed or failed
BORN: Final = "born"
WAITING: Final = "waiting"
OVER: Final = "over"


class _CloneInto:
    """Whether this kernel's CLONE_INTO_CGROUP is to be used, as far as this process has seen."""

    works = True


_clone_into = _CloneInto()


class Birth:
    """One start under way: what its channel has said so far."""

    def __init__(self, request: SpawnRequest) -> None:
        self.request = request
        self.pid = 0
        self.pidfd = -1
        self.floors: tuple[bytes, ...] | None = None
        self.failure: CgmgrError | None = None
        self.over = False
        self.began_ns = 0
        self.ended: Ended | None = None
        self._spawner: link.Spawner | None = None
        self._held = False
        self._cloned_into = False
        self._plumbing = Plumbing(request)
        self._channel: _socket.socket | None = None
        try:
            self._ask()
        except BaseException:
            self.close()
            raise
        finally:
            self._plumbing.close_theirs()

    def _ask(self) -> None:
        standing = link.Standing()
        self._channel, theirs = channel.pair()
        try:
            message, fds = encode(self.request, standing, self._plumbing, theirs.fileno())
            self._spawner = link.ask(standing, message, fds)
        finally:
            theirs.close()
            self._plumbing.close_theirs()

    # -- what the channel says

    def wait(self, deadline: float | None, until: str) -> None:
        """Until it is `BORN`, `WAITING` (where held), or `OVER`; that comes first if it must."""
        while not self._hear(until):
            left = None if deadline is None else deadline - time.monotonic()
            if not readable(self._fileno(), left, only_end=until == OVER):
                self._hear(until)
                raise self._late()

    async def await_(self, until: str) -> None:
        """As `wait`, for asyncio."""
        while not self._hear(until):
            await areadable(self._fileno())

    def _late(self) -> DeadlineExceeded:
        waiting_for = self.pid or (self._spawner.pid if self._spawner is not None else 0)
        message = f"process {self.pid} has not executed {self.name} in time"
        if not self.pid:
            message = f"start {self.name}: the spawner, process {waiting_for}, does not answer"
        return DeadlineExceeded(
            message,
            operation="start",
            path=self.name,
            errno=errno.ETIMEDOUT,
            hint=f"cat /proc/{waiting_for}/wchan /proc/{waiting_for}/cgroup",
        )

    def _hear(self, until: str) -> bool:
        """Take in what is there; whether it is enough."""
        while not (self.over or self._reached(until)):
            try:
                message, fds = channel.receive(self._open(), linux.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                message, fds = None, []
            except OSError as error:
                raise kernel_error("start", self.name, error) from error
            self._take(message, fds)
        return True

    def _reached(self, until: str) -> bool:
        return self.pidfd >= 0 and (until == BORN or (until == WAITING and self._held))

    def _take(self, message: tuple[Any, ...] | None, fds: list[int]) -> None:
        if message is None:
            self.over = True
        elif message[0] == STARTED:
            self.pid, self._cloned_into = message[1:]
            self.pidfd = fds[0]
        elif message[0] == HELD:
            self._held = True
        elif message[0] == READY:
            self.floors, self.began_ns = tuple(message[1]), message[2]
        elif message[0] == FAILED:
            self.failure = failure(self.request, *message[1:])

    @property
    def dead(self) -> bool:
        """Whether it died before exec, as far as the channel says."""
        return self.over and self.floors is None and self.failure is None and self.pidfd >= 0

    def stillborn(self) -> bool:
        """Whether it was killed before its first instruction by `CLONE_INTO_CGROUP`; then that is
        not used any more.  Asked only of one that is `dead`.

        Seen in Linux 6.18: into a group that was killed once by cgroup.kill, every clone is born
        with a SIGKILL, because cgroup_css_set_fork compares the kill counts of two groups, the
        parent's and the child's.  Killed by somebody meanwhile it may be too: then it is as if that
        had been a moment earlier.
        """
        self.ended = reap(self.pidfd)
        if self.ended.signal == SIGKILL and self._cloned_into:
            _clone_into.works = False
            return True
        return False

    def release(self, placement: Placement | None) -> None:
        """RELEASE.  Raises `KernelError`, EPIPE where it is not held or has ended."""
        place = placement or type(self.request.placement)()
        fds = (*place.procs_fds, *(fd for _, fd in place.pids), *place.floor_fds)
        paths = [os.fsencode(path) for path, _ in place.pids]
        try:
            channel.send(self._open(), (RELEASE, len(place.procs_fds), paths), fds)
        except OSError as error:
            raise kernel_error("release", self.name, error) from error

    # -- its end

    def take_files(self) -> tuple[BinaryIO | None, BinaryIO | None, BinaryIO | None]:
        return self._plumbing.take_files()

    def abandon(self) -> None:
        """Nobody wants it any more: if there is a process, it ends, and leaves no zombie."""
        try:
            self.wait(time.monotonic() + ABANDON_S, BORN)
        except DeadlineExceeded:
            # stopped, or hung in a module of an entry: with our end closed nothing gets to exec
            if self._spawner is not None:
                link.give_up(self._spawner)
        if self.pidfd >= 0:
            import signal

            with contextlib.suppress(ProcessLookupError):  # an orphan that has ended
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            # one that a v1 freezer holds dies when it is thawed
            if readable(self.pidfd, ABANDON_S):
                reap(self.pidfd)
                os.close(self.pidfd)
            else:
                orphans.append(self.pidfd)
        self.close()

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self.over = True
        self._plumbing.close_theirs()
        self._plumbing.close_ours()

    @property
    def name(self) -> str:
        return program_of(self.request)

    def lost(self) -> HostError:
        """The channel ended before STARTED."""
        return HostError(
            f"start {self.name}: the spawner ended before it answered",
            operation="start",
            path=self.name,
            hint=f"python3 -I -S {link.SCRIPT}",
        )

    def _open(self) -> _socket.socket:
        if self._channel is None:
            raise KernelError(
                f"start {self.name}: its channel is closed",
                operation="start",
                path=self.name,
                errno=errno.EPIPE,
            )
        return self._channel

    def _fileno(self) -> int:
        return self._open().fileno()


# -- the request


def encode(
    request: SpawnRequest, standing: link.Standing, streams: Plumbing, theirs: int
) -> tuple[Request, list[int]]:
    """REQUEST and its descriptors.  Raises `RequestError`."""
    fds = [theirs]

    def index(fd: int | None) -> int:
        if fd is None or fd < 0:
            return 0
        fds.append(fd)
        return len(fds) - 1

    place = request.placement
    private_cgroups = bool(request.clone_flags & linux.CLONE_NEWCGROUP)
    message: Request = {
        **_words(request),
        "umask": standing.umask if request.umask is None else request.umask,
        "pgid": standing.pgid,
        "new_session": request.new_session,
        "new_keyring": request.new_keyring,
        "rlimits": rlimits(request.rlimits),
        "uid": request.uid,
        "gid": request.gid,
        "groups": _groups(request),
        "flags": request.clone_flags & ~linux.CLONE_NEWCGROUP,
        "cgroup_namespace": private_cgroups,
        "pid_namespace": index(request.pid_namespace),
        "hold": request.hold,
        "orphan": request.orphan,
        "die_with_caller": request.die_with_caller,
        "cgroup": index(place.cgroup_fd),
        "into": _clone_into.works,
        "procs": [index(fd) for fd in place.procs_fds],
        "pids": [(os.fsencode(path), index(fd)) for path, fd in place.pids],
        "pids_by_clone": place.pids_by_clone,
        "floors": [index(fd) for fd in place.floor_fds],
        "here": index(streams.here),
        "place": [(index(fd), number) for fd, number in streams.place],
        "handed": list(request.pass_fds),
    }
    if len(fds) > channel.MOST_FDS:
        raise RequestError(
            f"start {program_of(request)}: {len(fds)} descriptors, {channel.MOST_FDS} are the most",
            operation="start",
        )
    return message, fds


def _words(request: SpawnRequest) -> Words:
    argv = [_word(word, "argument") for word in request.argv]
    program = request.executable if request.executable is not None else (*argv, b"")[0]
    if not request.entry and not (program and argv[0]):
        # posix.execve takes no empty argv[0], which programs may not survive either
        raise RequestError("the name of the program is empty", operation="start", value="")
    return {
        "argv": argv,
        "program": _word(program, "program"),
        "env": dict(os.environb) if request.env is None else _environment(request.env),
        "cwd": None if request.cwd is None else _word(request.cwd, "directory"),
        "entry": request.entry,
        "data": request.data,
    }


def _environment(env: Mapping[str, str]) -> dict[bytes, bytes]:
    encoded = {_word(key, "name"): _word(value, "value") for key, value in env.items()}
    for key in encoded:
        if not key or b"=" in key:
            raise RequestError(f"invalid environment variable {os.fsdecode(key)!r}", value="env")
    return encoded


def _word(word: Word, what: str) -> bytes:
    encoded = os.fsencode(word)
    if b"\0" in encoded:
        shown = os.fsdecode(encoded[:60])
        raise RequestError(f"invalid {what} {shown!r}: it contains NUL", operation="start")
    return encoded


def _groups(request: SpawnRequest) -> list[int] | None:
    """Another user has none of our supplementary groups unless told so."""
    if request.groups is not None:
        return list(request.groups)
    return [] if request.uid is not None or request.gid is not None else None


def rlimits(asked: Mapping[int, tuple[int, int]]) -> list[tuple[int, int, int]]:
    """All of them, ours where nothing else is asked: the spawner's are those of when it started.

    -1 is no limit (resource.RLIM_INFINITY).  Raises `RequestError`.
    """
    import resource

    for which, (soft, hard) in asked.items():
        if which not in RLIMITS or (hard >= 0 and not 0 <= soft <= hard):
            raise RequestError(
                f"invalid rlimit {which}: soft {soft}, hard {hard}",
                operation="start",
                value=f"{soft}:{hard}",
            )
    return [(which, *asked.get(which, resource.getrlimit(which))) for which in RLIMITS]
