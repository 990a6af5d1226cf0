"""Steps that only drivers make: leave a group, move into one, remove one, freeze one.

Law: each is a `cgmgr.plan.Step`; what it depends on was observed by the driver.  The steps that
every plan is made of (mkdir, enable, write) live in `cgmgr.plan`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time

from cgmgr import freezer, members
from cgmgr.errors import CgmgrError, GroupBusy, GroupGone
from cgmgr.kernfs import join
from cgmgr.plan import Drift, Step, Target, Was

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from cgmgr.kernfs import Directory, Tree
    from cgmgr.plan import Machine

#: a group without processes can stay busy for a moment while the kernel lets go of the last one
#: (runc needs up to 1 s here, containerd#11087)
REMOVE_S: Final = 5.0
FREEZE_S: Final = 10.0
#: TASK_NEW: a task that is being forked cannot be moved yet (runc#1950)
ATTACH_TRIES: Final = 5
EVACUATION_ROUNDS: Final = 100
#: by version: the file, and what freezes and thaws
FREEZER: Final = {
    1: ("freezer.state", "FROZEN", "THAWED"),
    2: ("cgroup.freeze", "1", "0"),
}


class Evacuate(Step):
    """Move the processes of an own group into a leaf of it, so that it may have controllers below.

    cgroup2 lets a group other than the real root have either processes or controllers for its
    children (cgroup-v2.rst, "No Internal Process Constraint").
    """

    target: Target
    leaf: str = "init"
    shared: bool = True

    def describe(self, machine: Machine) -> str:
        where = machine.absolute(self.target)
        return f"move every process of {where} to {where}/{self.leaf}"

    def execute(self, machine: Machine) -> None:
        tree, path = machine.tree(self.target), machine.path(self.target)
        inner = f"{path.rstrip('/')}/{self.leaf}"
        try:
            tree.mkdir(inner)
        except CgmgrError as error:
            if error.errno != errno.EEXIST:
                raise
        with tree.open(path) as outside, tree.open(inner) as inside:
            _move_all(outside, inside)

    def undo(self, machine: Machine) -> None:
        tree, path = machine.tree(self.target), machine.path(self.target)
        inner = f"{path.rstrip('/')}/{self.leaf}"
        with tree.open(path) as outside, tree.open(inner) as inside:
            _move_all(inside, outside)
        with contextlib.suppress(GroupBusy, GroupGone):
            tree.rmdir(inner)


def _move_all(source: Directory, destination: Directory) -> None:
    """Processes may fork while they are moved: go on until none is left."""
    for _ in range(EVACUATION_ROUNDS):
        moving = members.pids(source)
        if not moving:
            return
        for pid in moving:
            attach(destination, "cgroup.procs", pid)
    raise GroupBusy(
        f"processes keep appearing in {source.tree.absolute(source.path)}",
        operation="evacuate",
        path=source.tree.absolute(source.path),
        errno=errno.EBUSY,
    )


def attach(directory: Directory, file: str, pid: int) -> None:
    """Move one process or thread; one that is gone by then is no error."""
    for attempt in range(ATTACH_TRIES):
        try:
            directory.write(file, str(pid))
            return
        except CgmgrError as error:
            if error.errno == errno.ESRCH:
                return
            if error.errno != errno.EINVAL or attempt == ATTACH_TRIES - 1:
                raise
        time.sleep(0.03)


class Attach(Step):
    """Move a process into a group; `origin` is where it was, by the hierarchy's own path."""

    target: Target
    pid: int
    origin: str | None = None
    file: str = "cgroup.procs"

    def describe(self, machine: Machine) -> str:
        return f"write {self.pid} > {machine.absolute(self.target)}/{self.file}"

    def execute(self, machine: Machine) -> None:
        group = machine.at(self.target)
        try:
            group.write(self.file, str(self.pid))
        except GroupBusy as error:
            # one that hands controllers on holds no processes (cgroup-v2.rst)
            error.hint = f"cgmgr group create {self.target.group}/init"
            raise

    def undo(self, machine: Machine) -> None:
        if self.origin is None:
            return
        with contextlib.suppress(GroupGone), machine.tree(self.target).open(self.origin) as before:
            attach(before, self.file, self.pid)


class SetFrozen(Step):
    """Freeze or thaw a group, confirmed."""

    target: Target
    frozen: bool
    was_frozen: bool = False

    def describe(self, machine: Machine) -> str:
        return f"{'freeze' if self.frozen else 'thaw'} {machine.absolute(self.target)}"

    def execute(self, machine: Machine) -> None:
        self._set(machine, self.frozen)

    def undo(self, machine: Machine) -> None:
        self._set(machine, self.was_frozen)

    def before(self, machine: Machine) -> Iterator[Was]:
        v1 = machine.host.by_key(self.target.key).version == 1
        file, frozen, thawed = FREEZER[1 if v1 else 2]
        text = frozen if self.was_frozen else thawed
        path = machine.path(self.target)
        yield Was(key=self.target.key, path=path, file=file, text=text)

    def drift(self, machine: Machine) -> Iterator[Drift]:
        with machine.open(self.target) as group:
            state = freezer.state(group)
        if (state == freezer.FROZEN) != self.frozen:
            asked = freezer.FROZEN if self.frozen else freezer.THAWED
            yield Drift(path=machine.absolute(self.target), asked=asked, held=state)

    def _set(self, machine: Machine, frozen: bool) -> None:
        act = freezer.freeze if frozen else freezer.thaw
        with machine.open(self.target) as group:
            act(group, time.monotonic() + FREEZE_S)


class RemoveGroup(Step):
    """rmdir of a group and of those below it, from the bottom; never of a file.

    A group that still has processes is `GroupBusy`, which names some of them.
    """

    target: Target
    irreversible: str = "a removed group's counters are gone"

    def describe(self, machine: Machine) -> str:
        return f"rmdir {machine.absolute(self.target)}"

    def execute(self, machine: Machine) -> None:
        deadline = time.monotonic() + REMOVE_S
        pause = 0.0005
        while True:
            try:
                path = machine.path(self.target)
                for lower in _remove(machine.tree(self.target), path):
                    machine.gone.add(join(self.target.group, lower[len(path) :]))
                return
            except GroupBusy as error:
                _give_up_if_used(machine, self.target, error)
                if time.monotonic() >= deadline:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, 0.05)


class RefuseUsed(Step):
    """See that nothing is in a group, in any hierarchy; what is there is `GroupBusy`."""

    targets: tuple[Target, ...]

    def describe(self, machine: Machine) -> str:
        return " && ".join(f"ls {machine.absolute(target)}" for target in self.targets)

    def execute(self, machine: Machine) -> None:
        for target in self.targets:
            inside = within(machine, target)
            if inside:
                raise GroupBusy(
                    f"{machine.absolute(target)} is used: {', '.join(inside[:5])} is in it",
                    operation="remove",
                    path=machine.absolute(target),
                    errno=errno.EBUSY,
                )


class RemoveUnused(Step):
    """rmdir of a group that nothing is in, at once or not at all."""

    target: Target

    def describe(self, machine: Machine) -> str:
        return f"rmdir {machine.absolute(self.target)}"

    def execute(self, machine: Machine) -> None:
        with contextlib.suppress(GroupGone):
            machine.tree(self.target).rmdir(machine.path(self.target))

    def undo(self, machine: Machine) -> None:
        """Whoever came into the group meanwhile, in another hierarchy, finds it in this one too."""
        try:
            machine.tree(self.target).mkdir(machine.path(self.target))
        except CgmgrError as error:
            if error.errno != errno.EEXIST:
                raise


def within(machine: Machine, target: Target) -> list[str]:
    """The groups and the processes that are in a group, in words; none in one that is gone."""
    with contextlib.suppress(GroupGone), machine.open(target) as group:
        return [*group.children(), *(f"process {pid}" for pid in members.pids(group))]
    return []


def _remove(tree: Tree, path: str) -> list[str]:
    """A group without groups below it goes at once; else from the bottom.  Returns the paths of
    those that went with it."""
    below: list[str] = []
    with contextlib.suppress(GroupGone):
        try:
            tree.rmdir(path)
            return below
        except GroupBusy:
            with tree.open(path) as group:
                below = list(members.walk(group))[1:]
            if not below:
                raise
        for lower in reversed(below):
            with contextlib.suppress(GroupGone):
                tree.rmdir(lower)
        tree.rmdir(path)
    return below


def _give_up_if_used(machine: Machine, target: Target, error: GroupBusy) -> None:
    """Waiting helps only where no live process is left; a zombie of ours is reaped by nobody
    else."""
    with machine.open(target) as group:
        living = [
            pid for pid in members.pids(group, recursive=True) if os.path.exists(f"/proc/{pid}/exe")
        ]
    if living:
        shown = ", ".join(str(pid) for pid in living[:5])
        raise GroupBusy(
            f"remove {machine.absolute(target)}: {len(living)} processes are in it ({shown})",
            operation="remove",
            path=machine.absolute(target),
            errno=errno.EBUSY,
            hint=f"cgmgr group kill {target.group}",
        ) from error
