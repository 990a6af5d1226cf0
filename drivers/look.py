"""What the cgroupfs driver looks at before it says anything.

Law: reads only.  Which groups exist, what is inherited from the groups above, and what each
controller asked to see, as one `Observed`; a plan depends on nothing else.
"""

from __future__ import annotations

import contextlib
import os

from cgmgr import kernfs, members
from cgmgr.controllers import TABLE as CONTROLLERS
from cgmgr.controllers.base import Scene
from cgmgr.driver import Ancestor, Observed
from cgmgr.errors import ControllerUnavailable, GroupGone, HostError
from cgmgr.host import IMPLICIT_ON_V2, read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Final

    from cgmgr.controllers.base import Controller
    from cgmgr.driver import Request
    from cgmgr.errors import CgmgrError
    from cgmgr.host import Hierarchy, Host
    from cgmgr.resources import Resources

#: controllers that a threaded group may have (cgroup-v2.rst, "Threads")
THREADED: Final = frozenset({"cpu", "cpuset", "perf_event", "pids"})


class Look:
    """The reads of one host's groups."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def observe(self, request: Request) -> Observed:
        group = kernfs.check_path(request.group)
        here = tuple(h.key for h in self.host.managed if self._exists(h, group))
        if request.removal:
            return Observed(group=group, here=here)
        missing = {} if here else {h.key: self._missing(h, group) for h in self.host.managed}
        scenes: dict[str, Scene] = {}
        skipped: list[CgmgrError] = []
        for controller in self._asked(request.resources, here):
            try:
                scene = self._scene(controller, group, here)
                scenes[controller.NAME] = scene.replace(remembered=request.remembered)
            except HostError as error:
                if not request.best_effort:
                    raise
                skipped.append(error)
        return Observed(
            group=group,
            here=here,
            missing=missing,
            ancestors=self._ancestors(group, switched(self.host, request, scenes)),
            scenes=scenes,
            fill=() if here else self._empty_cpusets(group),
            origins=self.host.memberships(request.pid) if request.pid is not None else {},
            raw=self._raw(request.resources, group, here),
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
                f"group {group} has no {controller.NAME}: it is in other hierarchies only, "
                f"and not in {hierarchy.mountpoint}",
                controller=controller.NAME,
                missing_at=hierarchy.mountpoint,
                operation="set",
                path=group,
                hint=where_it_is_hint(self.host, group, here),
            )
        tree = self.host.tree(hierarchy)
        wanted = controller.observe(hierarchy.version, self.host.facts)
        inherited: tuple[str, ...] = getattr(controller, "INHERITED", ())
        path = kernfs.join(hierarchy.base, group)
        files: dict[str, str | None] = {}
        children: tuple[str, ...] = ()
        new = not here
        if here:
            with tree.open(path) as directory:
                files = {file: _stripped(directory.try_read(file)) for file in wanted}
                children = tuple(directory.children())
                new = hierarchy.version == 2 and _is_off(controller.NAME, files, directory)
                files = {} if new else files
        return Scene(
            version=hierarchy.version,
            new=new,
            files=files,
            parent=_above(
                tree, path, [f for f in wanted if f in inherited], controller.NAME == "cpuset"
            ),
            children=children,
            where=tree.absolute(path),
            facts=self.host.facts,
        )

    def _raw(
        self, resources: Resources, group: str, here: tuple[str, ...]
    ) -> dict[str, str | None]:
        """The present text of the raw files that are asked for, so that they can be put back."""
        hierarchy = self.host.v2
        if not resources.unified or hierarchy is None or hierarchy.key not in here:
            return {}
        with self.host.tree(hierarchy).open(kernfs.join(hierarchy.base, group)) as directory:
            return {raw.file: _stripped(directory.try_read(raw.file)) for raw in resources.unified}

    def _ancestors(self, group: str, wanted: list[str]) -> tuple[Ancestor, ...]:
        """The groups above in cgroup2, and what each would allow; with nothing to switch on only
        the nearest counts."""
        hierarchy = self.host.v2
        if hierarchy is None:
            return ()
        tree = self.host.tree(hierarchy)
        found: list[Ancestor] = []
        for name in kernfs.ancestors_of(group)[0 if wanted else -1 :]:
            path = kernfs.join(hierarchy.base, name)
            try:
                with tree.open(path) as directory:
                    found.append(_ancestor(name, directory, wanted, path == hierarchy.own))
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


def where_it_is_hint(host: Host, group: str, here: Iterable[str]) -> str:
    """A group that may be anybody's is to be looked at; whose it is, records say."""
    from shlex import join

    places = [(h, kernfs.join(h.base, group)) for h in host.managed if h.key in here]
    return join(["ls", "-d", *(host.tree(h).absolute(path) for h, path in places)])


def switched(host: Host, request: Request, asked: Iterable[str]) -> list[str]:
    """The controllers that have to be switched on for a group, on cgroup2."""
    wanted = {*request.enable, *asked, *of_raw(request.resources)}
    return [
        name
        for name in (host.v2.controllers if host.v2 is not None else ())
        if name not in IMPLICIT_ON_V2 and name in wanted
    ]


def of_raw(resources: Resources) -> set[str]:
    """What the raw files' names begin with: the controllers that bring them."""
    return {raw.file.partition(".")[0] for raw in resources.unified}


def _ancestor(name: str, directory: kernfs.Directory, wanted: list[str], own: bool) -> Ancestor:
    kind = directory.try_read("cgroup.type")
    enabled = tuple((directory.try_read("cgroup.subtree_control") or "").split())
    pids: tuple[int, ...] = ()
    if kind is not None and set(wanted) - set(enabled):
        pids = tuple(members.pids(directory))
    return Ancestor(
        name=name,
        root=kind is None,
        kind=(kind or "domain").strip(),
        enabled=enabled,
        pids=pids,
        movable=own and (directory.path == "/" or _all_ours(pids)),
    )


def _is_off(name: str, files: Mapping[str, str | None], directory: kernfs.Directory) -> bool:
    """Whether the group has no such controller yet: its files come when it is switched on."""
    if name in IMPLICIT_ON_V2 or any(text is not None for text in files.values()):
        return False
    return name not in (directory.try_read("cgroup.controllers") or "").split()


def _above(tree: kernfs.Tree, path: str, files: list[str], filled: bool) -> dict[str, str | None]:
    """The files of the nearest group above that exists; with `filled`, in which they say anything:
    a v1 cpuset may be empty until somebody fills it."""
    while files and path != "/":
        path = kernfs.parent_of(path)
        with contextlib.suppress(GroupGone), tree.open(path) as directory:
            texts = {file: _stripped(directory.try_read(file)) for file in files}
            if not filled or texts[files[0]] or path == "/":
                return texts
    return {}


def _all_ours(pids: tuple[int, ...]) -> bool:
    """Whether every process is this one or a child of its: then nobody else is moved."""
    mine = os.getpid()
    for pid in pids:
        stat = read_text("/", f"proc/{pid}/stat") or ""
        parent = stat.rpartition(")")[2].split()[1:2]
        if pid != mine and parent != [str(mine)]:
            return False
    return True


def _stripped(text: str | None) -> str | None:
    return None if text is None else text.strip()
