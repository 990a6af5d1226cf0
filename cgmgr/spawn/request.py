"""What may be asked for when a process is started: `SpawnRequest`, `Placement` and the four starts.

Law: how a request is put to the spawner is in `birth`, how the spawner is had in `link`, what it
does in `cloner` and `newborn`, what becomes of the process in `process`.  No code of the caller
runs in the new process, and the caller is never forked: the cost does not grow with the caller's
memory, and other threads do no harm.  See `spawner` for the protocol.
"""

from __future__ import annotations

import os
import time

from cgmgr.errors import RequestError
from cgmgr.kernfs import parent_of
from cgmgr.record import Record

from . import channel
from .birth import OVER, WAITING, Birth
from .process import Child, Process, reap_orphans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Final, Protocol, Self, TypeVar

    from cgmgr.host import Host
    from cgmgr.kernfs import Directory

    from .plumbing import Stream

    class Placed(Protocol):
        """A group, as far as its place is concerned."""

        @property
        def host(self) -> Host: ...
        @property
        def paths(self) -> Mapping[str, str]: ...

    P = TypeVar("P", bound=Child)
    Word = str | bytes | os.PathLike[str]


#: 4294967295 stands for "leave alone" in setresuid(2)
MOST_ID: Final = (1 << 32) - 2


class Placement(Record):
    """Where a process starts: open descriptors of the groups that it is to be in.

    `cgroup_fd` is the directory of its cgroup2 group, for CLONE_INTO_CGROUP.  `procs_fds` are files
    into which the new process writes 0, itself, to join: tasks or cgroup.procs of its v1 groups.
    Into `floor_fds` it writes 0 right before exec, where they can be written to, which resets a
    peak, and then reads them: what they say by then is not the program's.

    `pids` are the groups, it and those above, that have a pids limit: path and open directory.  The
    kernel lets in who joins, so the new process looks, unless it was cloned into the cgroup2 group
    and `pids_by_clone`, which is where they are of cgroup2.
    """

    cgroup_fd: int | None = None
    procs_fds: tuple[int, ...] = ()
    floor_fds: tuple[int, ...] = ()
    pids: tuple[tuple[str, int], ...] = ()
    pids_by_clone: bool = False

    @classmethod
    def of(cls, group: Placed, floor_fds: Sequence[int] = ()) -> Self:
        """The place of a group in all its hierarchies.  Close it; `floor_fds` are yours.

        Raises `GroupGone`, `NotDelegated`, `KernelError`.
        """
        cgroup_fd: int | None = None
        procs_fds: list[int] = []
        pids: list[tuple[str, int]] = []
        holder = group.host.holder("pids")
        try:
            for key, path in sorted(group.paths.items()):
                hierarchy = group.host.by_key(key)
                with group.host.tree(hierarchy).open(path) as directory:
                    if hierarchy.version == 2:
                        cgroup_fd = os.dup(directory.fd)
                    else:
                        # a lone thread moves itself by `tasks` without the lock that all forks and
                        # exits on the machine would have to wait for (cgroup_threadgroup_rwsem)
                        procs_fds.append(directory.open("tasks", os.O_WRONLY))
                    if hierarchy is holder:
                        pids.extend(_limited(directory))
        except BaseException:
            fds = (cgroup_fd, *procs_fds, *(fd for _, fd in pids))
            channel.close_all([fd for fd in fds if fd is not None])
            raise
        return cls(
            cgroup_fd=cgroup_fd,
            procs_fds=tuple(procs_fds),
            floor_fds=tuple(floor_fds),
            pids=tuple(pids),
            pids_by_clone=holder is not None and holder.version == 2,
        )

    def close(self) -> None:
        """Close the descriptors that `of` opened; a process that was started needs them no more."""
        channel.close_all([*self.procs_fds, *(fd for _, fd in self.pids)])
        if self.cgroup_fd is not None:
            os.close(self.cgroup_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def _limited(directory: Directory) -> Iterator[tuple[str, int]]:
    """Of a group and those above, those with a pids limit; the root has none."""
    if (directory.try_read("pids.max") or "max").strip() != "max":
        yield directory.tree.absolute(directory.path), os.dup(directory.fd)
    above = parent_of(directory.path)
    if above != "/":
        with directory.tree.open(above) as parent:
            yield from _limited(parent)


class SpawnRequest(Record):
    """What to start, and as what.  None is as in the caller, at this moment.

    `executable` is looked for in the PATH of `env` where it has no slash; argv[0] by default.  A
    relative one, and `cwd`, are relative to the caller's directory, then to `cwd`.  `rlimits` maps
    resource.RLIMIT_* to (soft, hard).  With `uid` or `gid`, `groups` is empty by default.

    `stdin`, `stdout`, `stderr`: a descriptor, a file, PIPE, DEVNULL, for stderr STDOUT.  `pass_fds`
    keep their numbers; every other descriptor is closed.

    `clone_flags` are CLONE_NEW*; a new cgroup namespace is made once all groups are joined.
    `pid_namespace` is a descriptor, of a pid namespace or a process in one, in which it begins.
    `entry`, "module:function", is called in the new process instead of exec, with `data` and the
    numbers of `pass_fds`; it must not return.

    With `die_with_caller` it is killed when the caller is, and with it all in its cgroup2 group;
    where there is none, it alone, also when the thread ends that made the first start of all.

    With `hold` the process waits, inside its groups,
    for `Process.release`.

    With `orphan` it is nobody's to wait for: no zombie is left when it ends, whoever ends it, and
    its exit status is not known.

    Always: every signal at its default and unblocked, any CPU that the cpuset allows; and a session
    keyring of its own, unless without `new_keyring`.
    """

    argv: Sequence[Word] = ()
    executable: Word | None = None
    env: Mapping[str, str] | None = None
    cwd: Word | None = None
    umask: int | None = None
    rlimits: Mapping[int, tuple[int, int]] = {}
    uid: int | None = None
    gid: int | None = None
    groups: Sequence[int] | None = None
    stdin: Stream = None
    stdout: Stream = None
    stderr: Stream = None
    pass_fds: Sequence[int] = ()
    placement: Placement = Placement()
    new_session: bool = False
    new_keyring: bool = True
    clone_flags: int = 0
    pid_namespace: int | None = None
    entry: str = ""
    data: bytes = b""
    die_with_caller: bool = False
    hold: bool = False
    orphan: bool = False

    def check(self) -> None:
        if isinstance(self.argv, (str, bytes)):
            raise RequestError("argv is one text, not a list of words", operation="start")
        if bool(self.argv) is bool(self.entry):
            raise RequestError("either argv or an entry", operation="start", value=self.entry)
        for number in (self.uid, self.gid, *(self.groups or ())):
            if number is not None and not 0 <= number <= MOST_ID:
                raise RequestError(
                    f"invalid user or group number {number}", operation="start", value=str(number)
                )
        if self.entry and not all(self.entry.partition(":")):
            raise RequestError(
                f"invalid entry {self.entry!r}: write module:function", operation="start"
            )


def start(request: SpawnRequest, timeout: float | None = None) -> Process:
    """Start a process, and return once it has executed the program.

    Raises `RequestError`; `KernelError` with operation "exec", the program as path and errno
    ENOENT, EACCES, ENOEXEC, ... where it cannot be executed; `GroupGone`, `GroupBusy`,
    `NotDelegated` where a group does not take it; `DeadlineExceeded`.  Whenever it raises, the
    process, if there was one, has been killed.
    """
    return start_as(Process, request, timeout)


def start_as(kind: Callable[[Birth], P], request: SpawnRequest, timeout: float | None = None) -> P:
    """As `start`; `kind` makes the object that is returned, `Process` or a subclass of it."""
    deadline = None if timeout is None else time.monotonic() + timeout
    birth = _wait(Birth(request), deadline)
    if birth.dead and birth.stillborn():
        birth.close()
        birth = _wait(Birth(request), deadline)
    return _process(kind, birth)


async def astart_as(kind: Callable[[Birth], P], request: SpawnRequest) -> P:
    """As `start_as`, for asyncio, with `AsyncProcess`; cancelled, it leaves no process."""
    birth = await _await(Birth(request))
    if birth.dead and birth.stillborn():
        birth.close()
        birth = await _await(Birth(request))
    return _process(kind, birth)


def _wait(birth: Birth, deadline: float | None) -> Birth:
    try:
        birth.wait(deadline, WAITING if birth.request.hold else OVER)
    except BaseException:
        birth.abandon()
        raise
    return birth


async def _await(birth: Birth) -> Birth:
    try:
        await birth.await_(WAITING if birth.request.hold else OVER)
    except BaseException:
        birth.abandon()
        raise
    return birth


def _process(kind: Callable[[Birth], P], birth: Birth) -> P:
    reap_orphans()
    if birth.pidfd >= 0 and birth.failure is None:
        return kind(birth)
    failure = birth.failure or birth.lost()
    birth.abandon()
    raise failure
