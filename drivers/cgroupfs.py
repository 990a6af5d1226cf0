"""The cgroupfs driver: groups made and changed by nothing but files.

Law: `observe` reads, everything else is pure and returns plans.  Knows the rules by which groups
come to be in each kind of hierarchy; what a setting becomes is the controllers' business, how a
step is done the steps'.

A group has a directory in every managed hierarchy, cgroup2 included, so that the v2 side can supply
what v1 lacks (cgroup.kill, populated, pressure) on a hybrid host too.
"""

from __future__ import annotations

import errno

from cgmgr import kernfs
from cgmgr.controllers import TABLE as CONTROLLERS
from cgmgr.controllers import raw_rows
from cgmgr.controllers.base import FilterRow, Row, Scene
from cgmgr.driver import PARENT, Ancestor, Observed, Request, plain_name
from cgmgr.errors import (
    GroupBusy,
    HostError,
    NameTaken,
    NoSuchGroup,
    RequestError,
)
from cgmgr.plan import Enable, EnsureParent, MakeGroup, Plan, Step, Target, Write
from cgmgr.resources import Resources

from .best_effort import holdable
from .look import THREADED, Look, of_raw, switched, where_it_is_hint
from .raw import check
from .steps import Attach, Evacuate, RefuseUsed, RemoveGroup, RemoveUnused, SetFrozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cgmgr.errors import CgmgrError
    from cgmgr.host import Hierarchy, Host
    from cgmgr.resources import Raw


class Cgroupfs:
    """See `cgmgr.driver.Driver`."""

    name = "cgroupfs"

    def __init__(self, host: Host) -> None:
        self.host = host
        self.parent = PARENT
        self._look = Look(host)

    def full_name(self, said: str) -> str:
        return plain_name(said)

    # -- looking

    def observe(self, request: Request) -> Observed:
        return self._look.observe(request)

    def paths(self, group: str) -> dict[str, str]:
        return self._look.paths(kernfs.check_path(group))

    def children(self, parent: str) -> list[str]:
        return self._look.children(parent)

    # -- saying

    def create(self, request: Request, observed: Observed) -> Plan:
        _refuse_properties(request)
        if observed.here:
            where = ", ".join(key or "cgroup2" for key in observed.here)
            raise NameTaken(
                f"group {observed.group} exists already, in {where}",
                operation="create group",
                path=observed.group,
                errno=errno.EEXIST,
                hint=where_it_is_hint(self.host, observed.group, observed.here),
            )
        steps: list[Step] = []
        for hierarchy in self.host.managed:
            steps += self.parents(hierarchy, observed)
            if hierarchy.version == 2:
                steps += self._enabling(hierarchy, request, observed)
            target = Target(group=observed.group, key=hierarchy.key)
            steps.append(MakeGroup(target=target))
            if hierarchy.version == 2:
                steps += self._threading(target, request, observed)
        return Plan(steps=tuple(steps)) + self.settings(request, observed)

    def update(self, request: Request, observed: Observed) -> Plan:
        _refuse_properties(request)
        if not observed.here:
            raise _missing_group(observed.group)
        steps: list[Step] = []
        if self.host.v2 is not None and self.host.v2.key in observed.here:
            steps += self._enabling(self.host.v2, request, observed)
        return Plan(steps=tuple(steps)) + self.settings(request, observed)

    def remove(self, request: Request, observed: Observed) -> Plan:
        if not observed.here:
            raise _missing_group(observed.group)
        targets = tuple(Target(group=observed.group, key=key) for key in observed.here)
        if request.only_empty:
            unused = (RemoveUnused(target=target) for target in targets)
            return Plan(steps=(RefuseUsed(targets=targets), *unused))
        return Plan(steps=tuple(RemoveGroup(target=target) for target in targets))

    def attach(self, request: Request, observed: Observed) -> Plan:
        if not observed.here:
            raise _missing_group(observed.group)
        return Plan(
            steps=tuple(
                Attach(
                    target=Target(group=observed.group, key=key),
                    pid=request.pid or 0,
                    origin=observed.origins.get(key),
                )
                for key in observed.here
            )
        )

    # -- how saying is done; what is public here is for drivers that make groups otherwise

    def parents(self, hierarchy: Hierarchy, observed: Observed) -> Iterator[Step]:
        for name in observed.missing.get(hierarchy.key, ()):
            yield EnsureParent(target=Target(group=name, key=hierarchy.key))
        if "cpuset" in hierarchy.controllers and hierarchy.version == 1:
            # a task cannot join an empty v1 cpuset, nor can a group below it get any CPU
            for name in observed.fill:
                scene = Scene(
                    version=1,
                    parent=observed.scenes["cpuset"].parent,
                    where=name,
                    facts=self.host.facts,
                )
                for row in CONTROLLERS["cpuset"].rows(Resources(), scene):
                    yield Write(target=Target(group=name, key=hierarchy.key), row=row)

    def _enabling(
        self, hierarchy: Hierarchy, request: Request, observed: Observed
    ) -> Iterator[Step]:
        """Switch on, in every group above, what is asked and not yet on."""
        wanted = switched(self.host, request, observed.scenes)
        for above in observed.ancestors:
            domain = request.threaded and above is observed.ancestors[-1]
            lacking = tuple(
                name
                for name in wanted
                if name not in above.enabled and (not domain or name in THREADED)
            )
            if not lacking:
                continue
            target = Target(group=above.name, key=hierarchy.key)
            # one with processes that gets even a threaded controller for groups below it is a
            # thread root then, and what is below it is invalid until it is threaded
            spoils = not domain and above.kind == "domain"
            if above.pids and not above.root and (spoils or set(lacking) - THREADED):
                yield self._evacuation(target, above)
            yield Enable(target=target, controllers=lacking)

    def _evacuation(self, target: Target, above: Ancestor) -> Step:
        if above.movable:
            return Evacuate(target=target)
        where = self.host.by_key(target.key).mountpoint + above.name.rstrip("/")
        shown = ", ".join(str(pid) for pid in above.pids[:5])
        raise GroupBusy(
            f"{where} holds processes ({shown}), so it cannot have controllers for groups below it",
            operation="enable",
            path=where,
            errno=errno.EBUSY,
            hint=f"mkdir {where}/init && for p in $(cat {where}/cgroup.procs); "
            f"do echo $p > {where}/init/cgroup.procs; done",
        )

    def _threading(self, target: Target, request: Request, observed: Observed) -> Iterator[Step]:
        """A group below a threaded one is invalid until it is threaded itself."""
        parent = observed.ancestors[-1] if observed.ancestors else None
        below_threaded = parent is not None and parent.kind in ("threaded", "domain invalid")
        if not request.threaded and not below_threaded:
            return
        raw = of_raw(request.resources) & set(self.host.by_key(target.key).controllers)
        asked = (set(observed.scenes) | raw) - {"devices", "freezer"}
        domain = f"cgmgr group set {parent.name if parent is not None else '/'} WORD=VALUE"
        elsewhere = "cgmgr group create --threaded NAME"
        enabled = set(parent.enabled if parent is not None and not parent.root else ())
        for domain_only, why, hint in (
            (asked - THREADED, "is threaded, and cannot have", domain),
            (enabled - THREADED, "cannot be threaded: the group above hands on", elsewhere),
        ):
            if domain_only:
                raise HostError(
                    f"group {observed.group} {why} {', '.join(sorted(domain_only))}",
                    operation="create group",
                    path=observed.group,
                    errno=errno.EOPNOTSUPP,
                    hint=hint,
                )
        row = Row(controller="cgroup", file="cgroup.type", value="threaded")
        yield Write(target=target, row=row)

    def settings(self, request: Request, observed: Observed) -> Plan:
        steps: list[Step] = []
        refused: list[CgmgrError] = []
        for name, scene in observed.scenes.items():
            target = Target(group=observed.group, key=self.host.need(name).key)
            resources = request.resources
            if request.best_effort:
                resources, reasons = holdable(CONTROLLERS[name], resources, scene)
                refused += reasons
            for row in CONTROLLERS[name].rows(resources, scene):
                steps.append(_step(target, row, scene, request))
        raw: list[Raw] = []
        for file in request.resources.unified:
            try:
                check(file, self.host)
                raw.append(file)
            except HostError as error:
                if not request.best_effort:
                    raise
                refused.append(error)
        if raw and self.host.v2 is not None:
            target = Target(group=observed.group, key=self.host.v2.key)
            scene = Scene(
                version=2, new=not observed.here, files=observed.raw, where=observed.group
            )
            for row in raw_rows(Resources(unified=tuple(raw)), scene):
                steps.append(Write(target=target, row=row, optional=request.best_effort))
        return Plan(steps=tuple(steps), refused=tuple(refused))


def _step(target: Target, row: Row, scene: Scene, request: Request) -> Step:
    if isinstance(row, FilterRow):
        from .device_filter import ReplaceFilter

        return ReplaceFilter(target=target, rules=row.rules)
    if row.controller == "freezer":
        frozen = row.value in ("1", "FROZEN")
        was = (scene.files.get(row.file) or "") in ("1", "FROZEN")
        return SetFrozen(target=target, frozen=frozen, was_frozen=was)
    previous = None if scene.new else scene.files.get(row.file)
    return Write(
        target=target,
        row=row,
        previous=previous,
        irreversible=row.irreversible,
        optional=request.best_effort,
    )


def _refuse_properties(request: Request) -> None:
    if request.properties:
        name = request.properties[0].partition("=")[0]
        raise RequestError(
            f"group {request.group} is no unit of systemd, and cannot have its property {name}",
            operation="set property",
            path=request.group,
            value=request.properties[0],
            hint="--driver systemd # where systemd is process 1",
        )


def _missing_group(group: str) -> NoSuchGroup:
    return NoSuchGroup(
        f"there is no group {group}",
        operation="find group",
        path=group,
        errno=errno.ENOENT,
        hint="cgmgr group ls",
    )
