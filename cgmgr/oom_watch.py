"""Watches a group for OOM kills: counts, before and after, that `cgmgr.oom` judges.

Law: a `Watch` is opened before the start, over the group and every group above it in the hierarchy
that holds the memory controller, and asked for its verdict before the group is removed.

Measured, with the limit at the group, above it, and at both (Linux 6.18 v1, 6.1 v2):

- v2: `oom` in memory.events.local rises in the group whose limit was hit, and nowhere else;
  `oom_kill` in memory.events rises in the victim's group and in those above it.
- v1: `oom_kill` in memory.oom_control rises in the victim's own group only, and is gone with it.
  failcnt tells nothing once there is a memory+swap limit.  But an eventfd on memory.oom_control
  fires in the group whose limit was hit and in all below it: so what fired here and not above was
  this one's limit.  (It fires once more, a little later, when its group is removed.)  A group
  that is made below after the watch was opened has none.
"""

from __future__ import annotations

import contextlib
import os

from cgmgr import members, parse
from cgmgr.errors import CgmgrError, GroupGone
from cgmgr.kernfs import ancestors_of, join, parent_of
from cgmgr.oom import Level, Oom, judge
from cgmgr.units import Max

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping
    from typing import Final, Protocol, Self

    from cgmgr.host import Hierarchy, Host
    from cgmgr.kernfs import Tree

    class Placed(Protocol):
        """A group, as far as its place is concerned."""

        name: str

        @property
        def host(self) -> Host: ...
        @property
        def paths(self) -> Mapping[str, str]: ...


EVENT_FILES: Final = {1: "memory.oom_control", 2: "memory.events"}
LIMIT_FILES: Final = {1: "memory.limit_in_bytes", 2: "memory.max"}
#: so many groups below are looked at; of the limits of more nothing is said
MOST_BELOW: Final = 64
#: a file that only the root of a v1 hierarchy has, and one that the root of cgroup2 has not; what
#: is mounted in a cgroup namespace looks like a root and is none (cgroups(7), cgroup-v2.rst)
V1_ROOT_FILE: Final = "release_agent"
V2_NOT_ROOT_FILE: Final = "cgroup.type"


class Watch:
    """Watches one group.  Use as a context manager, or close it.

    Its own is what lies between the group of its name and its place, the leaf of a scope for one.
    Raises `GroupGone`.
    """

    def __init__(self, group: Placed) -> None:
        self._side: _V1 | _V2 | None = None
        hierarchy = group.host.holder("memory")
        if hierarchy is not None and hierarchy.key in group.paths:
            path = group.paths[hierarchy.key]
            place = _Place(group.host, hierarchy, path, join(hierarchy.base, group.name))
            if place.counts():
                self._side = _V1(place) if hierarchy.version == 1 else _V2(place)

    @property
    def knows(self) -> bool:
        """Whether OOM kills can be seen at all: some hierarchy holds the memory controller.

        False too after a verdict that saw no kill, where a group below is gone with what it counted
        (v1).
        """
        return self._side is not None and self._side.knows

    def verdict(self) -> Oom | None:
        """What happened since the watch was opened, None if the kernel killed nothing.

        Raises `GroupGone` when asked too late.
        """
        if self._side is None:
            return None
        found = self._side.verdict()
        if found is None or found.limit_at is None:
            return found
        return found.replace(limit_bytes=self._side.place.limit(found.limit_at))

    def close(self) -> None:
        """Let go of what the kernel keeps for it; twice does no harm."""
        if self._side is not None:
            self._side.close()
            self._side = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_side"):
            self.close()


class _Place:
    """A group in the memory hierarchy, and the way up from it."""

    def __init__(self, host: Host, hierarchy: Hierarchy, path: str, own_from: str) -> None:
        self.tree: Tree = host.tree(hierarchy)
        self.version = hierarchy.version
        self.path = path
        self.own_from = own_from
        self.line = (*ancestors_of(path), path)

    def level(self, path: str, hits: int | None) -> Level:
        own = path == self.own_from or path.startswith(self.own_from.rstrip("/") + "/")
        return Level(path=path, hits=hits, own=own)

    def counts(self) -> bool:
        """Whether the controller is at work in the group: on cgroup2 it may not be enabled."""
        with self.tree.open(self.path) as directory:
            return directory.has(EVENT_FILES[self.version])

    def rooted(self) -> bool:
        with self.tree.open("/") as root:
            if self.version == 1:
                return root.has(V1_ROOT_FILE)
            return not root.has(V2_NOT_ROOT_FILE)

    def below(self, most: int | None) -> dict[str, int]:
        """The groups below, a group before those below it, with the inode that tells one from
        another of the same name."""
        found: dict[str, int] = {}
        with self.tree.open(self.path) as group:
            for path in members.walk(group):
                if path != self.path:
                    with contextlib.suppress(GroupGone), self.tree.open(path) as directory:
                        found[path] = os.fstat(directory.fd).st_ino
                if most is not None and len(found) >= most:
                    break
        return found

    def down_to(self, path: str) -> list[str]:
        """The groups from right below this one down to one of those below it."""
        return [p for p in (*ancestors_of(path), path) if len(p) > len(self.path)]

    def limit(self, path: str) -> int | None:
        try:
            with self.tree.open(path) as directory:
                value = parse.limit(directory.read(LIMIT_FILES[self.version]))
        except (CgmgrError, ValueError):
            return None
        return None if isinstance(value, Max) else value


class _V1:
    """By eventfds on memory.oom_control."""

    def __init__(self, place: _Place) -> None:
        self.place = place
        self.knows = True
        self._events: dict[str, int | None] = {}
        self._below: dict[str, int] = {}
        try:
            for path in place.line:
                self._events[path] = listen(place.tree, path)
            # those below once those above listen: what fires in between is then not theirs
            self._below = place.below(MOST_BELOW)
            for path in self._below:
                with contextlib.suppress(GroupGone):
                    self._events[path] = listen(place.tree, path)
            self._before = self._kills()
        except BaseException:
            self.close()
            raise
        self._fired = dict.fromkeys(self._events, 0)

    def verdict(self) -> Oom | None:
        now = self.place.below(None)
        gone = {path for path, inode in self._below.items() if now.get(path) != inode}
        before = {path: count for path, count in self._before.items() if path not in gone}
        risen = {path: count - before.get(path, 0) for path, count in self._kills().items()}
        # from below: what fires meanwhile is then seen above, and not taken for ours
        fired = {path: self._count(path) for path in sorted(self._events, key=len, reverse=True)}
        line = self.place.line
        levels = [
            self.place.level(path, _own_hits(fired, path, above))
            for path, above in zip(line, (None, *line), strict=False)
        ]
        hits = {path: _own_hits(fired, path, parent_of(path)) for path in self._below}
        kills = sum(risen.values())
        self.knows = kills > 0 or not gone
        holders = [path for path, count in hits.items() if count and path not in gone]
        blind = not self._sees([p for p, more in risen.items() if more > 0], hits, gone)
        return judge(
            kills,
            levels,
            below=None if blind and not holders else sum(hits[path] or 0 for path in holders),
            below_at=holders[0] if len(holders) == 1 and not blind else None,
            rooted=self.place.rooted(),
        )

    def _sees(
        self, victims: Iterable[str], hits: Mapping[str, int | None], gone: Container[str]
    ) -> bool:
        """Whether the limits of all groups from below this one down to the victims' are seen: of
        one that was made meanwhile nothing is known but its kills."""
        return all(
            hits.get(path) is not None and path not in gone
            for victim in victims
            for path in self.place.down_to(victim)
        )

    def close(self) -> None:
        """The kernel drops a listener when its eventfd is closed."""
        events, self._events = self._events, {}
        for event in events.values():
            if event is not None:
                os.close(event)

    def _count(self, path: str) -> int | None:
        event = self._events[path]
        if event is None:
            return None
        with contextlib.suppress(BlockingIOError):
            self._fired[path] += os.eventfd_read(event)
        return self._fired[path]

    def _kills(self) -> dict[str, int]:
        """oom_kill, by path, of the group and of all below."""
        found: dict[str, int] = {}
        with self.place.tree.open(self.place.path) as group:
            for path in members.walk(group):
                with contextlib.suppress(GroupGone), self.place.tree.open(path) as directory:
                    counted = parse.flat_keyed(directory.read(EVENT_FILES[1]))
                    found[path] = counted.get("oom_kill", 0)
        if self.place.path not in found:
            raise _gone(self.place)
        return found


def _own_hits(fired: Mapping[str, int | None], path: str, above: str | None) -> int | None:
    """How often the limit of one group was hit: what fired there and not above it."""
    here, there = fired.get(path), 0 if above is None else fired.get(above)
    return None if here is None or there is None else max(here - there, 0)


def listen(tree: Tree, path: str) -> int | None:
    """An eventfd that counts the OOM notifications of one group; None where they are not to be had
    (a group above ours that we may not write to, a kernel without them)."""
    with tree.open(path) as directory:
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            control = directory.open(EVENT_FILES[1])
            try:
                directory.write("cgroup.event_control", f"{event} {control}")
            finally:
                os.close(control)
        except CgmgrError:
            os.close(event)
            return None
    return event


class _V2:
    """By memory.events and memory.events.local (Linux 5.2)."""

    def __init__(self, place: _Place) -> None:
        self.place = place
        self.knows = True
        self._local = {path: self._hits(path) for path in place.line}
        self._below = self._hits_below()
        self._events = self._all()

    def verdict(self) -> Oom | None:
        events = self._all()
        kills = events.get("oom_kill", 0) - self._events.get("oom_kill", 0)
        all_hits = events.get("oom", 0) - self._events.get("oom", 0)
        levels = [self.place.level(path, self._since(path)) for path in self.place.line]
        local = levels[-1].hits
        # without events.local: our own limit, or one below, which cannot be told apart
        below = None if local is None else all_hits - local
        below_at = self._holder_below(below) if below else None
        rooted = self.place.rooted()
        return judge(kills, levels, below=below, below_at=below_at, rooted=rooted)

    def close(self) -> None:
        """Nothing is held open."""

    def _holder_below(self, hits: int) -> str | None:
        """The one group below whose limit was hit, if it was hit as often as any was."""
        now = self._hits_below()
        risen = {path: count - self._below.get(path, 0) for path, count in now.items()}
        return next((path for path, count in risen.items() if count == hits), None)

    def _hits_below(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for path in self.place.below(MOST_BELOW):
            with contextlib.suppress(GroupGone):
                found[path] = self._hits(path) or 0
        return found

    def _since(self, path: str) -> int | None:
        before, now = self._local[path], self._hits(path)
        return None if before is None or now is None else now - before

    def _hits(self, path: str) -> int | None:
        """`oom` of one group alone.  The root has no limit, and no such file."""
        with self.place.tree.open(path) as directory:
            text = directory.try_read("memory.events.local")
            if text is None:
                return 0 if path == "/" and not directory.has(V2_NOT_ROOT_FILE) else None
        return parse.flat_keyed(text).get("oom", 0)

    def _all(self) -> dict[str, int]:
        with self.place.tree.open(self.place.path) as directory:
            text = directory.try_read(EVENT_FILES[2])
        if text is None:
            raise _gone(self.place)
        return parse.flat_keyed(text)


def _gone(place: _Place) -> GroupGone:
    path = place.tree.absolute(place.path)
    return GroupGone(f"read {path}: the group is gone", operation="read", path=path)
