"""Steps of the systemd driver: units started, told and stopped, and the keeper of an empty scope.

Law: each is a `cgmgr.plan.Step`; what it is to say was decided by the driver.  A scope is never
made without its limits, nor does it exist without a process: the keeper, a sleeping process in a
leaf beside the group's own, is held at birth until it is where it belongs.  Killed at any moment,
whoever executes these leaves a scope that ends by itself, or one that its record leads to.
"""

from __future__ import annotations

import contextlib
import errno
import time

from cgmgr import kernfs, members, spawn
from cgmgr.errors import (
    CgmgrError,
    DeadlineExceeded,
    DriverError,
    GroupBusy,
    GroupGone,
    HostError,
    NoSuchGroup,
)
from cgmgr.plan import BY_DRIVER, Step, Target, Was, Write

from .steps import within
from .units import SCOPE_KIND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from cgmgr.controllers.base import Row
    from cgmgr.host import Host
    from cgmgr.plan import Drift, Machine
    from cgmgr.spawn import Process

    from .systemd1 import Property, Systemd1
    from .units import Unit

KEEPER: Final = "keeper"
#: outlives everything, and does nothing (sleep(1))
KEEPER_ARGV: Final = ("sleep", "infinity")
KEEPER_S: Final = 10.0


class StartUnit(Step):
    """Have systemd start a transient unit, with its limits; a scope with its keeper in it."""

    systemd: Systemd1
    unit: Unit
    properties: tuple[Property, ...]
    said: tuple[str, ...] = ()
    """the limits, as a person would write them"""
    checks: tuple[Write, ...] = ()

    def describe(self, machine: Machine) -> str:
        del machine
        options = " ".join(f"-p {text}" for text in self.said)
        if self.unit.kind != SCOPE_KIND:
            return f"systemd: start {self.unit.name} {options}".rstrip()
        return (
            f"systemd-run --scope --unit={self.unit.name} --slice={self.unit.slice} "
            f"-p Delegate=yes {options} {' '.join(KEEPER_ARGV)}"
        ).replace("  ", " ")

    def execute(self, machine: Machine) -> None:
        if self.unit.kind != SCOPE_KIND:
            try:
                self.systemd.start(self.unit.name, self.properties)
            except DeadlineExceeded:
                self._give_up()
                raise
            return
        keeper = _held_process()
        try:
            rows = (*self.properties, ("PIDs", "au", [keeper.pid]))
            self.systemd.start(self.unit.name, rows)
            try:
                self._check_place(machine.host, keeper.pid)
            except BaseException:
                self._give_up()
                raise
        except BaseException:
            keeper.kill()
            keeper.wait_ended()
            keeper.close()
            raise
        machine.kept[self.unit.path] = keeper

    def undo(self, machine: Machine) -> None:
        keeper = machine.kept.pop(self.unit.path, None)
        if keeper is not None:
            _end(keeper)
        self.systemd.stop(self.unit.name)

    def drift(self, machine: Machine) -> Iterator[Drift]:
        for check in self.checks:
            yield from check.drift(machine)

    def _check_place(self, host: Host, pid: int) -> None:
        """Where systemd put it is no promise of systemd's; ours of a group's name is."""
        key = next((h.key for h in host.hierarchies if h.key == "name=systemd"), "")
        found = host.memberships(pid).get(key)
        wanted = kernfs.join(host.by_key(key).base, self.unit.path)
        if found != wanted:
            raise DriverError(
                f"systemd put {self.unit.name} at {found}, not at {wanted}",
                operation="start unit",
                path=self.unit.name,
                value=found,
            )

    def _give_up(self) -> None:
        with contextlib.suppress(CgmgrError):
            self.systemd.stop(self.unit.name)


def _held_process() -> Process:
    """A process that waits, before it executes the keeper's program."""
    return spawn.start(
        spawn.SpawnRequest(
            argv=KEEPER_ARGV,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            cwd="/",
            stdin=spawn.DEVNULL,
            stdout=spawn.DEVNULL,
            stderr=spawn.DEVNULL,
            new_session=True,
            hold=True,
            # anybody may stop the unit, and nobody waits for its keeper
            orphan=True,
        ),
        KEEPER_S,
    )


def _end(keeper: Process) -> None:
    keeper.kill()
    keeper.wait_ended(KEEPER_S)
    keeper.close()


class SettleKeeper(Step):
    """Let the keeper go on, within its leaf; `AwaitKeeper` sees it there."""

    unit: Unit
    targets: tuple[Target, ...]

    def describe(self, machine: Machine) -> str:
        where = machine.absolute(self.targets[-1])
        more = len(self.targets) - 1
        return f"let the keeper go, into {where}" + (f" and {more} more" if more else "")

    def execute(self, machine: Machine) -> None:
        keeper: Process = machine.kept[self.unit.path]
        for target in self.targets:
            machine.at(target).write("cgroup.procs", str(keeper.pid))
        keeper.let_go()

    def undo(self, machine: Machine) -> None:
        keeper = machine.kept.pop(self.unit.path, None)
        if keeper is not None:
            _end(keeper)


class AwaitKeeper(Step):
    """See that the keeper executes its program, which it began to while other steps were done."""

    unit: Unit

    def describe(self, machine: Machine) -> str:
        del machine
        return f"wait until {' '.join(KEEPER_ARGV)} is executed"

    def execute(self, machine: Machine) -> None:
        keeper: Process = machine.kept[self.unit.path]
        keeper.wait_executed(KEEPER_S)


class SetProperties(Step):
    """Tell systemd new values of a unit that is there; `previous` are those it has now."""

    systemd: Systemd1
    unit: Unit
    properties: tuple[Property, ...]
    previous: tuple[Property, ...]
    said: tuple[str, ...] = ()
    checks: tuple[Write, ...] = ()

    def describe(self, machine: Machine) -> str:
        del machine
        return f"systemctl set-property --runtime {self.unit.name} {' '.join(self.said)}"

    def execute(self, machine: Machine) -> None:
        try:
            self.systemd.set_properties(self.unit.name, self.properties)
        except DeadlineExceeded:
            # it may have been done, or be done yet; what comes behind it has the last word
            with contextlib.suppress(CgmgrError):
                self.undo(machine)
            raise

    def undo(self, machine: Machine) -> None:
        del machine
        if self.previous:
            self.systemd.set_properties(self.unit.name, self.previous)

    def before(self, _machine: Machine) -> Iterator[Was]:
        yield Was(key="", path=self.unit.path, text=BY_DRIVER)

    def drift(self, machine: Machine) -> Iterator[Drift]:
        for check in self.checks:
            yield from check.drift(machine)


class Check(Step):
    """See that a unit's own group holds what systemd was told."""

    target: Target
    row: Row

    def describe(self, machine: Machine) -> str:
        return f"check {self.row.value} in {machine.absolute(self.target)}/{self.row.seen_in}"

    def execute(self, machine: Machine) -> None:
        for drift in self.drift(machine):
            raise HostError(
                f"systemd took {drift.asked!r} for {drift.path}, and the kernel holds "
                f"{drift.held!r}",
                operation="verify",
                path=drift.path,
                value=drift.asked,
            )

    def drift(self, machine: Machine) -> Iterator[Drift]:
        yield from Write(target=self.target, row=self.row).drift(machine)


class StopUnit(Step):
    """End the keeper, stop the unit, forget it.  The group's processes are gone by now."""

    systemd: Systemd1
    unit: Unit
    keepers: tuple[Target, ...] = ()
    irreversible: str = "a stopped unit's counters are gone"

    def describe(self, machine: Machine) -> str:
        del machine
        return f"systemctl stop {self.unit.name}"

    def execute(self, machine: Machine) -> None:
        deadline = time.monotonic() + KEEPER_S
        for target in self.keepers:
            with contextlib.suppress(GroupGone), machine.open(target) as group:
                members.kill_all([group], deadline)
        self.systemd.stop(self.unit.name)


class StopSlice(Step):
    """Stop a slice that nothing is in any more; one that is used is `GroupBusy`."""

    systemd: Systemd1
    unit: Unit
    targets: tuple[Target, ...]
    irreversible: str = "a stopped slice's counters are gone"

    def describe(self, machine: Machine) -> str:
        del machine
        return f"systemctl stop {self.unit.name}"

    def execute(self, machine: Machine) -> None:
        inside = sorted({name for target in self.targets for name in within(machine, target)})
        if inside or not self.systemd.stop_unused(self.unit.name):
            what = ", ".join(inside[:5]) or "something that is being started"
            raise GroupBusy(
                f"stop {self.unit.name}: {what} is in it",
                operation="remove",
                path=self.unit.path,
                errno=errno.EBUSY,
                hint=f"systemctl status {self.unit.name}",
            )


class AttachToUnit(Step):
    """Have systemd move a process into a unit's leaf, where we may not."""

    systemd: Systemd1
    unit: Unit
    leaf: str
    pid: int
    irreversible: str = "where the process was is systemd's to say"

    def describe(self, machine: Machine) -> str:
        del machine
        return f"systemd: AttachProcessesToUnit {self.unit.name} {self.leaf} {self.pid}"

    def execute(self, machine: Machine) -> None:
        del machine
        try:
            self.systemd.attach(self.unit.name, self.leaf, [self.pid])
        except NoSuchGroup as error:
            error.hint = "cgmgr group ls"
            raise
