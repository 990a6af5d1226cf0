"""Who is in a group: reading members, waiting for them, killing them all.

Law: works on open directories of one group in one or several hierarchies, and knows no driver.
Everything is bounded by a deadline.  Groups and processes may vanish at any moment; that is never
an error here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time

from cgmgr import freezer
from cgmgr.errors import CgmgrError, DeadlineExceeded, GroupGone, NotDelegated
from cgmgr.kernfs import join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from typing import Final

    from cgmgr.kernfs import Directory, Tree

    #: what thaws the group at a path of v1's freezer, as a command
    Thawing = Callable[[str], str]

THAWED: Final = "THAWED"
#: how long one round waits for exits before it looks for newcomers, in seconds
ROUND_S: Final = 0.2
#: descriptors held at once; a group may have more members, the next round takes them
MOST_PIDFDS: Final = 256


def walk(directory: Directory) -> Iterator[str]:
    """The paths of the group and of all below it, a group before those below it."""
    yield directory.path
    for name in directory.children():
        try:
            with directory.tree.open(join(directory.path, name)) as child:
                yield from walk(child)
        except GroupGone:
            continue


def pids(directory: Directory, recursive: bool = False) -> list[int]:
    """Process ids in the group, sorted; with `recursive` also of the groups below.

    A process outside our pid namespace reads 0 and is left out (cgroups(7)).
    """
    found: set[int] = set()
    for path in walk(directory) if recursive else (directory.path,):
        try:
            with directory.tree.open(path) as group:
                found.update(_pids_here(group))
        except GroupGone:
            if path == directory.path:
                raise
    found.discard(0)
    return sorted(found)


def _pids_here(group: Directory) -> Iterable[int]:
    try:
        return [int(line) for line in group.read("cgroup.procs").split()]
    except CgmgrError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
    # in a threaded group only cgroup.threads can be read (cgroup-v2.rst, "Threads")
    return {_leader(int(line)) for line in group.read("cgroup.threads").split()}


def _leader(tid: int) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{tid}/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith("Tgid:"):
                return int(line.split()[1])
    return 0


def everyone(directories: Sequence[Directory]) -> list[int]:
    """Process ids in any of the directories or below; a directory that is gone has none."""
    found: set[int] = set()
    for directory in directories:
        with contextlib.suppress(GroupGone):
            found.update(pids(directory, recursive=True))
    return sorted(found)


def wait_empty(
    directories: Sequence[Directory], deadline: float, thawing: Thawing | None = None
) -> None:
    """Return once no process is left; `DeadlineExceeded` at `deadline` (of time.monotonic), which
    names the group above that is frozen on v1, where nobody dies until it is thawed; `thawing` says
    what thaws it."""
    while members := everyone(directories):
        left = deadline - time.monotonic()
        if left <= 0:
            raise _still_there(members, directories, thawing)
        _wait_for_exits(members, min(left, ROUND_S))


def _still_there(
    members: Sequence[int], directories: Sequence[Directory], thawing: Thawing | None
) -> DeadlineExceeded:
    count = "1 process is" if len(members) == 1 else f"{len(members)} processes are"
    why, hint = "", f"ps -fp {','.join(str(pid) for pid in members[:10])}"
    held = _frozen_above(directories)
    if held is not None:
        tree, above = held
        why = f": {tree.absolute(above)} is frozen above it"
        hint = thawing(above) if thawing is not None else hint
    return DeadlineExceeded(
        f"{count} still in {_shown(directories)}{why}",
        operation="wait until empty",
        path=_shown(directories),
        errno=errno.ETIMEDOUT,
        hint=hint,
    )


def _frozen_above(directories: Sequence[Directory]) -> tuple[Tree, str] | None:
    """The group above that is frozen in v1's freezer, and its hierarchy; on cgroup2 the frozen die
    all the same (cgroup-v2.rst, "cgroup.freeze")."""
    for directory in directories:
        with contextlib.suppress(CgmgrError):
            if directory.has("freezer.state") and freezer.state(directory) == freezer.BY_ANCESTOR:
                above = freezer.frozen_ancestor(directory)
                if above is not None:
                    return directory.tree, above
    return None


def kill_all(
    directories: Sequence[Directory], deadline: float, thawing: Thawing | None = None
) -> None:
    """SIGKILL every process in the groups and below, and return once none is left.

    cgroup.kill (Linux 5.14) misses nobody.  Where it is not, members are frozen first, so that none
    can fork away and no pid can be used again, then signalled through pidfds, and always thawed: on
    v1 a frozen task does not die until then.  Raises `DeadlineExceeded` as `wait_empty` does.

    Whoever is killed meanwhile may leave the groups frozen, with some dead: the next call kills the
    others, and thaws what is left.
    """
    for directory in directories:
        _kill_at_once(directory)
    while members := everyone(directories):
        if time.monotonic() >= deadline:
            wait_empty(directories, deadline, thawing)
        with _frozen(directories, deadline):
            send(members, directories, signal.SIGKILL)
        _wait_for_exits(members, min(max(deadline - time.monotonic(), 0), ROUND_S))
    for directory in directories:
        with contextlib.suppress(GroupGone):
            if (directory.try_read("freezer.state") or THAWED).strip() != THAWED:
                _thaw(directory)


def _kill_at_once(directory: Directory) -> None:
    if not directory.has("cgroup.kill"):
        return
    try:
        directory.write("cgroup.kill", "1")
    except GroupGone:
        return
    except CgmgrError as error:
        # a threaded group cannot kill: its processes have threads elsewhere (cgroup-v2.rst)
        if error.errno != errno.EOPNOTSUPP:
            raise


def send(members: Sequence[int], directories: Sequence[Directory], number: int) -> None:
    """Signal processes, each only if it is still a member once we hold its pidfd."""
    for start in range(0, len(members), MOST_PIDFDS):
        batch = _pidfds(members[start : start + MOST_PIDFDS])
        try:
            still = set(everyone(directories))
            for pid, fd in batch.items():
                if pid in still:
                    _signal(pid, fd, number)
        finally:
            for fd in batch.values():
                os.close(fd)


def _signal(pid: int, pidfd: int, number: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise NotDelegated(
            f"kill process {pid}: operation not permitted",
            operation="kill",
            value=str(pid),
            errno=error.errno,
        ) from error


def _pidfds(members: Iterable[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for pid in members:
        try:
            found[pid] = os.pidfd_open(pid)
        except OSError as error:
            # a pid that is just being let go of is no process's any more (seen in Linux 6.1)
            if error.errno not in (errno.ESRCH, errno.EINVAL):
                raise
    return found


def _wait_for_exits(members: Sequence[int], timeout: float) -> None:
    """Return when one of the processes ended, or after `timeout` seconds.

    A member that nobody reaps yet is readable at once and may still be listed by v1: then there is
    nothing to wait for but time.
    """
    batch = _pidfds(members[:MOST_PIDFDS])
    try:
        poll = select.poll()
        for fd in batch.values():
            poll.register(fd, select.POLLIN)
        ended = poll.poll(timeout * 1000) if batch else []
        if len(ended) == len(batch):
            time.sleep(min(timeout, 0.001))
    finally:
        for fd in batch.values():
            os.close(fd)


@contextlib.contextmanager
def _frozen(directories: Sequence[Directory], deadline: float) -> Generator[None]:
    """Hold the groups' v1 freezer, as far as it can be had, and thaw them and all below at the
    end."""
    held = [directory for directory in directories if directory.has("freezer.state")]
    try:
        for directory in held:
            with contextlib.suppress(CgmgrError):
                freezer.freeze(directory, min(deadline, time.monotonic() + ROUND_S))
        yield
    finally:
        for directory in held:
            _thaw(directory)


def _thaw(directory: Directory) -> None:
    """Have a group in v1's freezer and all below it run."""
    for path in walk(directory):
        with contextlib.suppress(GroupGone), directory.tree.open(path) as group:
            group.write("freezer.state", THAWED)


def _shown(directories: Sequence[Directory]) -> str:
    return directories[0].tree.absolute(directories[0].path) if directories else "the group"
