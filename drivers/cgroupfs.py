"""The cgroupfs driver: groups made and changed by nothing but files.

Law: `observe` reads, everything else is pure and returns plans.  Knows the rules by which groups
come to be in each kind of hierarchy; what a setting becomes is the controllers' business, how a
step is done the steps'.

A group has a directory in every managed hierarchy, cgroup2 included, so that the v2 side can supply
what v1 lacks (cgroup.kill, populated, pressure) on a hybrid host too.
"""

from __future__ import annotations

import contextlib
import errno
import os

from cgmgr import kernfs, members
from cgmgr.controllers import TABLE as CONTROLLERS
from cgmgr.controllers import raw_rows
from cgmgr.controllers.base import FilterRow, Row, Scene
from cgmgr.driver import Ancestor, Observed, Request
from cgmgr.errors import (
    ControllerUnavailable,
    GroupBusy,
    GroupGone,
    HostError,
    NameTaken,
    NoSuchGroup,
)
from cgmgr.host import IMPLICIT_ON_V2
from cgmgr.plan import Enable, EnsureParent, MakeGroup, Plan, Step, Target, Write
from cgmgr.resources import Resources

from .steps import Attach, Evacuate, RemoveGroup, SetFrozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Final

    from cgmgr.controllers.base import Controller
    from cgmgr.errors import CgmgrError
    from cgmgr.host import Hierarchy, Host

#: controllers that a threaded group may have (cgroup-v2.rst, "Threads")
THREADED: Final = frozenset({"cpu", "cpuset", "perf_event", "pids"})


class Cgroupfs:
    """See `cgmgr.driver.Driver`."""

    name = "cgroupfs"

    def __init__(self, host: Host) -> None:
        self.host = host

    # -- looking

    def observe(self, request: Request) -> Observed:
        group = kernfs.check_path(request.group)
        here = tuple(h.key for h in self.host.managed if self._exists(h, group))
        missing = {} if here else {h.key: self._missing(h, group) for h in self.host.managed}
        scenes: dict[str, Scene] = {}
        skipped: list[CgmgrError] = []
        for controller in self._asked(request.resources, here):
            try:
                scenes[controller.NAME] = self._scene(controller, group, here)
            except HostError as error:
                if not request.best_effort:
                    raise
                skipped.append(error)
        return Observed(
            group=group,
            here=here,
            missing=missing,
            ancestors=self._ancestors(group, self._switched(request, scenes)),
            scenes=scenes,
            fill=() if here else self._empty_cpusets(group),
            skipped=tuple(skipped),
        )

    def paths(self, group: str) -> dict[str, str]:
        group = kernfs.check_path(group)
        return {
            h.key: kernfs.join(h.base, group) for h in self.host.managed if self._exists(h, group)
        }

    def children(self, parent: str) -> list[str]:
        found: set[str] = set()
        for hierarchy in self.host.managed:
            with (
                contextlib.suppress(GroupGone),
                self.host.tree(hierarchy).open(kernfs.join(hierarchy.base, parent)) as group,
            ):
                found.update(group.children())
        return sorted(kernfs.join(parent, name) for name in found)

    # -- saying

    def create(self, request: Request, observed: Observed) -> Plan:
        if observed.here:
            where = ", ".join(key or "cgroup2" for key in observed.here)
            raise NameTaken(
                f"group {observed.group} exists already, in {where}",
                operation="create group",
                path=observed.group,
                errno=errno.EEXIST,
                hint=f"cgmgr group rm {observed.group}",
            )
        steps: list[Step] = []
        for hierarchy in self.host.managed:
            steps += self._parents(hierarchy, observed)
            if hierarchy.version == 2:
                steps += self._enabling(hierarchy, request, observed)
            target = Target(group=observed.group, key=hierarchy.key)
            steps.append(MakeGroup(target=target))
            if hierarchy.version == 2:
                steps += self._threading(target, request, observed)
        return Plan(steps=(*steps, *self._settings(request, observed)))

    def update(self, request: Request, observed: Observed) -> Plan:
        if not observed.here:
            raise _missing_group(observed.group)
        steps: list[Step] = []
        if self.host.v2 is not None and self.host.v2.key in observed.here:
            steps += self._enabling(self.host.v2, request, observed)
        return Plan(steps=(*steps, *self._settings(request, observed)))

    def remove(self, group: str, observed: Observed) -> Plan:
        if not observed.here:
            raise _missing_group(group)
        targets = (Target(group=observed.group, key=key) for key in observed.here)
        return Plan(steps=tuple(RemoveGroup(target=target) for target in targets))

    def attach(self, group: str, pid: int, observed: Observed) -> Plan:
        if not observed.here:
            raise _missing_group(group)
        return Plan(
            steps=tuple(
                Attach(target=Target(group=observed.group, key=key), pid=pid)
                for key in observed.here
            )
        )

    # -- how observing is done

    def _asked(self, resources: Resources, here: tuple[str, ...]) -> list[Controller]:
        """The controllers to look at: those of the request, and a v1 cpuset, which starts empty."""
        cpuset = self.host.holder("cpuset")
        fills = cpuset is not None and cpuset.version == 1 and (not here or cpuset.key in here)
        return [
            controller
            for name, controller in CONTROLLERS.items()
            if controller.wants(resources) or (fills and name == "cpuset")
        ]

    def _exists(self, hierarchy: Hierarchy, group: str) -> bool:
        return self.host.tree(hierarchy).exists(kernfs.join(hierarchy.base, group))

    def _missing(self, hierarchy: Hierarchy, group: str) -> tuple[str, ...]:
        """The groups above that do not exist, from the top."""
        missing: list[str] = []
        for name in reversed(kernfs.ancestors_of(group)):
            if name == "/" or self._exists(hierarchy, name):
                break
            missing.insert(0, name)
        return tuple(missing)

    def _scene(self, controller: Controller, group: str, here: tuple[str, ...]) -> Scene:
        """What the controller asked to see, of the group and of the nearest group above it."""
        hierarchy = self.host.need(controller.NAME)
        if here and hierarchy.key not in here:
            raise ControllerUnavailable(
                f"group {group} has no {controller.NAME}: it is not in {hierarchy.mountpoint}",
                controller=controller.NAME,
                missing_at=hierarchy.mountpoint,
                operation="set",
                path=group,
                hint=f"mkdir -p {hierarchy.mountpoint}{kernfs.join(hierarchy.base, group)}",
            )
        tree = self.host.tree(hierarchy)
        wanted = controller.observe(hierarchy.version, self.host.facts)
        inherited: tuple[str, ...] = getattr(controller, "INHERITED", ())
        path = kernfs.join(hierarchy.base, group)
        files: dict[str, str | None] = {}
        children: tuple[str, ...] = ()
        if here:
            with tree.open(path) as directory:
                files = {file: _stripped(directory.try_read(file)) for file in wanted}
                children = tuple(directory.children())
        return Scene(
            version=hierarchy.version,
            new=not here,
            files=files,
            parent=_above(tree, path, [file for file in wanted if file in inherited]),
            children=children,
            where=tree.absolute(path),
            facts=self.host.facts,
        )

    def _switched(self, request: Request, scenes: Mapping[str, Scene]) -> list[str]:
        """The controllers that have to be switched on for the group, on cgroup2."""
        return [
            name
            for name in (self.host.v2.controllers if self.host.v2 is not None else ())
            if name not in IMPLICIT_ON_V2 and (name in request.enable or name in scenes)
        ]

    def _ancestors(self, group: str, switched: list[str]) -> tuple[Ancestor, ...]:
        """The groups above in cgroup2, and what each would allow; with nothing to switch on only
        the nearest counts."""
        hierarchy = self.host.v2
        if hierarchy is None:
            return ()
        tree = self.host.tree(hierarchy)
        found: list[Ancestor] = []
        for name in kernfs.ancestors_of(group)[0 if switched else -1 :]:
            path = kernfs.join(hierarchy.base, name)
            try:
                with tree.open(path) as directory:
                    found.append(_ancestor(name, directory, switched, path == hierarchy.own))
            except GroupGone:
                found.append(Ancestor(name=name, exists=False))
        return tuple(found)

    def _empty_cpusets(self, group: str) -> tuple[str, ...]:
        """Groups above, in a v1 cpuset hierarchy, that are not there or hold no CPUs or no nodes,
        from the top.  Above one that holds some, all do."""
        hierarchy = self.host.holder("cpuset")
        if hierarchy is None or hierarchy.version == 2:
            return ()
        files = CONTROLLERS["cpuset"].observe(1)[:2]
        empty: list[str] = []
        for name in reversed(kernfs.ancestors_of(group)):
            try:
                with self.host.tree(hierarchy).open(kernfs.join(hierarchy.base, name)) as above:
                    texts = [above.try_read(file) for file in files]
            except GroupGone:
                texts = [None]
            if all(text and text.strip() for text in texts):
                break
            empty.insert(0, name)
        return tuple(empty)

    # -- how saying is done

    def _parents(self, hierarchy: Hierarchy, observed: Observed) -> Iterator[Step]:
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
        wanted = self._switched(request, observed.scenes)
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
            if above.pids and not above.root and set(lacking) - THREADED:
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
            hint="choose a parent without processes, or move them to a group below it: "
            f"mkdir {where}/init && for p in $(cat {where}/cgroup.procs); "
            f"do echo $p > {where}/init/cgroup.procs; done",
        )

    def _threading(self, target: Target, request: Request, observed: Observed) -> Iterator[Step]:
        """A group below a threaded one is invalid until it is threaded itself."""
        parent = observed.ancestors[-1] if observed.ancestors else None
        below_threaded = parent is not None and parent.kind in ("threaded", "domain invalid")
        if not request.threaded and not below_threaded:
            return
        asked = set(observed.scenes) - {"devices", "freezer"}
        enabled = set(parent.enabled if parent is not None and not parent.root else ())
        for domain_only, why, hint in (
            (asked - THREADED, "is threaded, and cannot have", "set it on the domain group above"),
            (enabled - THREADED, "cannot be threaded: the group above hands on", "use another one"),
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

    def _settings(self, request: Request, observed: Observed) -> Iterator[Step]:
        for name, scene in observed.scenes.items():
            controller = CONTROLLERS[name]
            target = Target(group=observed.group, key=self.host.need(name).key)
            for row in controller.rows(request.resources, scene):
                yield _step(target, row, scene, request)
        if request.resources.unified:
            yield from self._raw(request, observed)

    def _raw(self, request: Request, observed: Observed) -> Iterator[Step]:
        if self.host.v2 is None:
            raise HostError(
                "raw cgroup2 files cannot be set: no cgroup2 hierarchy is mounted",
                operation="set unified",
                value=", ".join(raw.file for raw in request.resources.unified),
                hint="use the typed settings, which v1 has too",
            )
        target = Target(group=observed.group, key=self.host.v2.key)
        scene = Scene(version=2, new=not observed.here, where=observed.group)
        for row in raw_rows(request.resources, scene):
            yield Write(target=target, row=row, optional=request.best_effort)


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


def _ancestor(name: str, directory: kernfs.Directory, switched: list[str], own: bool) -> Ancestor:
    kind = directory.try_read("cgroup.type")
    enabled = tuple((directory.try_read("cgroup.subtree_control") or "").split())
    pids: tuple[int, ...] = ()
    if kind is not None and set(switched) - set(enabled) - THREADED:
        pids = tuple(members.pids(directory))
    return Ancestor(
        name=name,
        root=kind is None,
        kind=(kind or "domain").strip(),
        enabled=enabled,
        pids=pids,
        movable=own and (directory.path == "/" or _all_ours(pids)),
    )


def _above(tree: kernfs.Tree, path: str, files: list[str]) -> dict[str, str | None]:
    """The files of the nearest group above that exists."""
    while files and path != "/":
        path = kernfs.parent_of(path)
        with contextlib.suppress(GroupGone), tree.open(path) as directory:
            return {file: _stripped(directory.try_read(file)) for file in files}
    return {}


def _all_ours(pids: tuple[int, ...]) -> bool:
    """Whether every process is this one or a child of its: then nobody else is moved."""
    from cgmgr.host import read_text

    mine = os.getpid()
    for pid in pids:
        stat = read_text("/", f"proc/{pid}/stat") or ""
        parent = stat.rpartition(")")[2].split()[1:2]
        if pid != mine and parent != [str(mine)]:
            return False
    return True


def _stripped(text: str | None) -> str | None:
    return None if text is None else text.strip()


def _missing_group(group: str) -> NoSuchGroup:
    return NoSuchGroup(
        f"there is no group {group}",
        operation="find group",
        path=group,
        errno=errno.ENOENT,
        hint="cgmgr group ls",
    )
