"""The systemd driver: groups are transient units, and what runs in one is in a leaf of its scope.

Law: `systemd_look` reads, everything else is pure and returns plans.  systemd alone writes to a
unit's own group, and is told every value that it can express; the leaf is ours, as a group of the
cgroupfs driver is, and holds all values, so that a program in a cgroup namespace of its own sees
its limits (docs/adr/0004).  Names are `units`' business, what is told `systemd_sent`'s.

    /cgmgr.slice/cgmgr-x.scope            the unit's own group, systemd's
    /cgmgr.slice/cgmgr-x.scope/payload    the group
    /cgmgr.slice/cgmgr-x.scope/keeper     a sleeping process, so that it may be empty

A slice is a group without a leaf: it holds groups, not processes.  A unit that somebody else made
is changed as a slice is.  A group below a leaf is the cgroupfs driver's.
"""

from __future__ import annotations

import errno
import os

from cgmgr import kernfs
from cgmgr.controllers import TABLE as CONTROLLERS
from cgmgr.controllers.base import Scene
from cgmgr.driver import Observed, Request, usual
from cgmgr.errors import DriverError, HostError, NameTaken, NoSuchGroup, NotDelegated, RequestError
from cgmgr.host import UNIFIED
from cgmgr.plan import Enable, MakeGroup, Plan, Target, Write
from cgmgr.resources.systemd_text import spelled
from cgmgr.rights import ROOT

from . import systemd_sent as sent
from . import units
from .bus import transport
from .cgroupfs import Cgroupfs
from .look import switched
from .steps import RemoveGroup
from .systemd1 import Systemd1
from .systemd_look import PAYLOAD, Seen, SystemdLook
from .systemd_steps import (
    KEEPER,
    AttachToUnit,
    AwaitKeeper,
    Check,
    SetProperties,
    SettleKeeper,
    StartUnit,
    StopSlice,
    StopUnit,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cgmgr.host import Host
    from cgmgr.plan import Step

    from .bus import Bus
    from .systemd1 import Property


class Systemd:
    """See `cgmgr.driver.Driver`."""

    name = "systemd"

    def __init__(self, host: Host, systemd: Systemd1 | None = None) -> None:
        if systemd is None and usual(host) != self.name:
            raise DriverError(
                f"systemd does not run this machine: process 1 is {host.pid1 or 'another'}",
                operation="load driver",
                value=self.name,
                hint="--driver cgroupfs",
            )
        user = os.geteuid() != 0
        self.parent = kernfs.join("/", units.SLICE)
        self.systemd = systemd if systemd is not None else Systemd1(_connector(host, user))
        self.host = _of_user(host, self.systemd) if user else host
        self._files = Cgroupfs(self.host)
        self._look = SystemdLook(self._files, self.systemd)

    def about(self) -> str:
        """What the doctor says of it.  Raises where systemd does not answer."""
        whose = "the system's" if self.host.v2 is None or self.host.v2.base == "/" else "the user's"
        return f"{whose} systemd {self.systemd.version}, by {transport()}"

    def full_name(self, said: str) -> str:
        return units.full_name(said)

    # -- looking

    def observe(self, request: Request) -> Observed:
        return self._look.observe(request)

    def paths(self, group: str) -> dict[str, str]:
        return self._look.paths(group)

    def children(self, parent: str) -> list[str]:
        return self._look.children(parent)

    # -- saying

    def create(self, request: Request, observed: Observed) -> Plan:
        if not isinstance(observed, Seen):
            return self._files.create(request, observed)
        self._refuse(request, observed)
        request, refused = sent.holdable(request, self.host)
        inner = observed.inner
        steps: list[Step] = [self._start(request, observed)]
        for hierarchy in self.host.managed:
            if hierarchy.key not in sent.realized(self.host):
                steps += self._files.parents(hierarchy, inner)
                if not observed.ours:
                    target = Target(group=inner.group, key=hierarchy.key)
                    steps.append(MakeGroup(target=target))
        steps += self._enabling(request, observed)
        if not observed.ours:
            return Plan(steps=tuple(steps), refused=refused) + self._beside(request, observed)
        steps += self._keeper(observed)
        steps += self._enabling_within(request, observed)
        steps += (MakeGroup(target=target) for target in self._targets(inner.group))
        settings = self._files.settings(_of(request, inner), inner)
        steps += self._outside(settings.steps, observed)
        last = Plan(steps=(AwaitKeeper(unit=observed.unit),))
        return Plan(steps=tuple(steps), refused=refused) + settings + last

    def update(self, request: Request, observed: Observed) -> Plan:
        if not isinstance(observed, Seen):
            return self._files.update(request, observed)
        if not observed.here:
            raise _missing(observed.group)
        request, refused = sent.holdable(request, self.host)
        told = tuple(self._telling(request, observed))
        enabling = tuple(self._enabling(request, observed))
        if not observed.ours:
            steps = (*told, *enabling)
            return Plan(steps=steps, refused=refused) + self._beside(request, observed)
        inner = observed.inner
        settings = self._files.settings(_of(request, inner), inner)
        first, rest = _split(settings.steps, inner)
        within = self._enabling_within(request, observed)
        own = self._outside(settings.steps, observed)
        return Plan(
            steps=(*enabling, *within, *first, *told, *own, *rest),
            refused=(*refused, *settings.refused),
        )

    def remove(self, request: Request, observed: Observed) -> Plan:
        if not isinstance(observed, Seen):
            return self._files.remove(request, observed)
        unit = observed.unit
        if not observed.here:
            raise _missing(observed.group)
        own = [Target(group=unit.path, key=key) for key in observed.here]
        if observed.ours:
            inner = [Target(group=observed.inner.group, key=key) for key in observed.inner.here]
            keepers = tuple(t.replace(group=kernfs.join(unit.path, KEEPER)) for t in own)
            stop: Step = StopUnit(systemd=self.systemd, unit=unit, keepers=keepers)
            return Plan(
                steps=(
                    *(RemoveGroup(target=target) for target in inner),
                    stop,
                    *(RemoveGroup(target=target) for target in own),
                )
            )
        if unit.kind != units.SLICE_KIND:
            raise RequestError(
                f"{unit.name} is a unit that cgmgr did not make",
                operation="remove group",
                path=observed.group,
                hint=f"systemctl stop {unit.name}",
            )
        stop = StopSlice(systemd=self.systemd, unit=unit, targets=tuple(own))
        return Plan(steps=(stop, *(RemoveGroup(target=target) for target in own)))

    def attach(self, request: Request, observed: Observed) -> Plan:
        if not isinstance(observed, Seen):
            return self._files.attach(request, observed)
        if not observed.here:
            raise _missing(observed.group)
        if observed.unit.kind == units.SLICE_KIND:
            raise RequestError(
                f"{observed.unit.name} is a slice: it holds groups, not processes",
                operation="attach",
                path=observed.group,
                hint=f"cgmgr group create {observed.unit.name}/NAME",
            )
        if os.geteuid() == 0:
            return self._files.attach(_of(request, observed.inner), observed.inner)
        leaf = f"/{PAYLOAD}" if observed.ours else ""
        step = AttachToUnit(
            systemd=self.systemd, unit=observed.unit, leaf=leaf, pid=request.pid or os.getpid()
        )
        return Plan(steps=(step,))

    # -- how saying is done

    def _refuse(self, request: Request, observed: Seen) -> None:
        if observed.here:
            raise NameTaken(
                f"unit {observed.unit.name} has a group already, {observed.group}",
                operation="create group",
                path=observed.group,
                errno=errno.EEXIST,
                hint=f"systemctl status {observed.unit.name}",
            )
        if observed.unit.kind == units.OTHER_KIND:
            raise RequestError(
                f"{observed.unit.name} is no scope and no slice, the kinds that cgmgr makes",
                operation="create group",
                path=observed.group,
                hint=f"cgmgr group create {observed.unit.name.rpartition('.')[0]}",
            )
        if request.threaded:
            raise HostError(
                f"{observed.unit.name} cannot be threaded: it has controllers for whole processes",
                operation="create group",
                path=observed.group,
                errno=errno.EOPNOTSUPP,
                hint=f"cgmgr group create --threaded {observed.place}/NAME",
            )

    def _start(self, request: Request, observed: Seen) -> Step:
        unit, version = observed.unit, observed.version
        limits = sent.limits(request.resources, self.host, unit, version, new=True)
        return StartUnit(
            systemd=self.systemd,
            unit=unit,
            properties=(*sent.creation(unit, self.host, version), *observed.properties, *limits),
            said=(*request.properties, *spelled(limits)),
        )

    def _telling(self, request: Request, observed: Seen) -> Iterator[Step]:
        unit, version = observed.unit, observed.version
        limits = sent.limits(request.resources, self.host, unit, version, new=False)
        if not limits and not observed.properties:
            return
        was = sent.present(observed.inner, self.host)
        was = was.replace(devices=request.remembered.devices)
        previous = sent.limits(was, self.host, unit, version, new=False)
        names = {name for name, _, _ in limits}
        undone = [*sent.emptied(limits), *(row for row in previous if row[0] in names)]
        yield SetProperties(
            systemd=self.systemd,
            unit=unit,
            properties=(*observed.properties, *limits),
            previous=(*observed.previous, *undone),
            said=(*request.properties, *spelled(limits)),
            checks=tuple(self._checks(unit, limits)),
        )

    def _checks(self, unit: units.Unit, limits: list[Property]) -> Iterator[Write]:
        """What the unit's own group has to hold then."""
        held = sent.held(limits)
        for name in sent.managed(self.host):
            controller = CONTROLLERS[name]
            if name == "devices" or not controller.wants(held):
                continue
            hierarchy = self.host.need(name)
            scene = Scene(version=hierarchy.version, where=unit.path, facts=self.host.facts)
            for row in controller.rows(held, scene):
                yield Write(target=Target(group=unit.path, key=hierarchy.key), row=row)

    def _outside(self, steps: tuple[Step, ...], observed: Seen) -> Iterator[Step]:
        """What is in the unit's own group beside what systemd writes there."""
        files = sent.beside_neighbours(self.host, observed.version)
        for step in steps:
            if isinstance(step, Write) and step.row.file in files:
                yield step.replace(target=step.target.replace(group=observed.unit.path))

    def _beside(self, request: Request, observed: Seen) -> Plan:
        """For a unit without a leaf: files for what systemd cannot express, a look at the rest."""
        unit = observed.unit
        limits = sent.limits(request.resources, self.host, unit, observed.version, new=False)
        theirs = {(check.target, check.row.file) for check in self._checks(unit, limits)}
        settings = self._files.settings(_of(request, observed.inner), observed.inner)
        steps: list[Step] = []
        for step in settings.steps:
            if not isinstance(step, Write):
                steps.append(step)
            elif (step.target, step.row.file) in theirs:
                steps.append(Check(target=step.target, row=step.row))
            else:
                steps.append(step)
        return Plan(steps=tuple(steps), refused=settings.refused)

    def _enabling(self, request: Request, observed: Seen) -> Iterator[Step]:
        """Switch on, in the slices, what systemd switches on for nobody."""
        v2 = self.host.v2
        if v2 is None:
            return
        wanted = sent.foreign(self.host, switched(self.host, request, observed.scenes))
        above = observed.inner.ancestors
        for ancestor in above[:-1] if observed.ours else above:
            lacking = tuple(name for name in wanted if name not in ancestor.enabled)
            if lacking:
                target = Target(group=ancestor.name, key=v2.key)
                yield Enable(target=target, controllers=lacking)

    def _enabling_within(self, request: Request, observed: Seen) -> Iterator[Step]:
        """Switch on, in the scope itself, which is delegated to us, what its leaf needs."""
        v2 = self.host.v2
        if v2 is None:
            return
        enabled = observed.inner.ancestors[-1].enabled if observed.inner.ancestors else ()
        wanted = switched(self.host, request, observed.scenes)
        lacking = tuple(name for name in wanted if name not in enabled)
        if lacking:
            target = Target(group=observed.unit.path, key=v2.key)
            yield Enable(target=target, controllers=lacking)

    def _keeper(self, observed: Seen) -> Iterator[Step]:
        """A leaf for the process that keeps the scope, since one that has controllers for its
        children holds none itself (cgroup-v2.rst, "No Internal Process Constraint")."""
        assert observed.keeper is not None
        group = observed.keeper.group
        targets = self._targets(group)
        yield from (MakeGroup(target=target) for target in targets)
        yield from self._files.settings(Request(group=group), observed.keeper).steps
        yield SettleKeeper(unit=observed.unit, targets=targets)

    def _targets(self, group: str) -> tuple[Target, ...]:
        return tuple(Target(group=group, key=h.key) for h in self.host.managed)


def _connector(host: Host, user: bool) -> Callable[[], Bus]:
    def connect() -> Bus:
        from . import bus

        return bus.connect(host.root, user=user)

    return connect


def _of(request: Request, inner: Observed) -> Request:
    """The same request, for the group that holds the processes."""
    return request.replace(group=inner.group)


def _split(steps: tuple[Step, ...], inner: Observed) -> tuple[list[Step], list[Step]]:
    """The writes of controllers whose limits get smaller, and the rest."""
    smaller: set[str] = set()
    for name, scene in inner.scenes.items():
        rows = [step.row for step in steps if isinstance(step, Write)]
        asked = {row.file: row.value for row in rows if row.controller == name}
        if sent.shrinks(asked, scene.files):
            smaller.add(name)
    first = [step for step in steps if isinstance(step, Write) and step.row.controller in smaller]
    return list(first), [step for step in steps if step not in first]


def _of_user(host: Host, systemd: Systemd1) -> Host:
    """The host as the user's systemd has it.  v1 is not delegated to users (systemd#9388)."""
    if host.mode != UNIFIED:
        raise NotDelegated(
            "groups of a user's systemd need the unified hierarchy, and this host has v1",
            operation="load driver",
            value=host.mode,
            hint=ROOT,
        )
    return host.below(systemd.control_group())


def _missing(group: str) -> NoSuchGroup:
    return NoSuchGroup(
        f"there is no group {group}",
        operation="find group",
        path=group,
        errno=errno.ENOENT,
        hint="cgmgr group ls",
    )
