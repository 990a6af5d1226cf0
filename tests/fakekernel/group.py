"""One group of the imitation: its files, its place in the tree, what it is to the core.

Law: looks and edits; the kernel's refusals live in core and in rules.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from tests.recording import BARE, FRESH, Entry, place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.recording import Recording

    from .core import FakeKernel

#: cgrp_dfl_threaded_ss_mask
THREADED = {"cpu", "cpuset", "perf_event", "pids"}


class Facts(NamedTuple):
    """What a rule must know of the machine."""

    compiled: frozenset[str]
    cpus: frozenset[int]
    mems: frozenset[int]
    disks: frozenset[str]
    interfaces: frozenset[str]
    rdma: frozenset[str]
    rt_period: int
    rt_runtime: int


class Template:
    """What a new group holds, taken from the groups that were made for the recording."""

    def __init__(self, recording: Recording, mountpoint: str) -> None:
        self.fresh = recording.files(f"{mountpoint}/{FRESH}")
        self.bare = recording.files(f"{mountpoint}/{FRESH}/{BARE}") or self.fresh
        self.errors = {
            name: entry.number
            for name, entry in {**self.fresh, **self.bare}.items()
            if entry.number is not None
        }

    def files(self, controllers: Iterable[str]) -> dict[str, Entry]:
        """The files of a new group for which these controllers are enabled (v1: all files)."""
        added = {n: e for n, e in self.fresh.items() if n.partition(".")[0] in set(controllers)}
        return self.bare | added

    def of(self, controller: str) -> dict[str, Entry]:
        """The files that a group gains when this controller is enabled for it."""
        mine = {n: e for n, e in self.fresh.items() if n.partition(".")[0] == controller}
        return {name: entry for name, entry in mine.items() if name not in self.bare}


class Group:
    """One directory of the hierarchy, by path ("/" is the root)."""

    def __init__(self, kernel: FakeKernel, path: str) -> None:
        self.kernel = kernel
        self.path = path
        self.directory = kernel.top / path.strip("/")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Group) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def parent(self) -> Group | None:
        return None if self.path == "/" else self.kernel.group(self.path.rpartition("/")[0] or "/")

    @property
    def children(self) -> list[Group]:
        names = sorted(entry.name for entry in os.scandir(self.directory) if entry.is_dir())
        return [Group(self.kernel, f"{self.path.rstrip('/')}/{name}") for name in names]

    def above(self) -> Iterator[Group]:
        """Its ancestors, nearest first."""
        group = self.parent
        while group is not None:
            yield group
            group = group.parent

    def below(self) -> Iterator[Group]:
        """The group and all its descendants, parents first."""
        yield self
        for child in self.children:
            yield from child.below()

    @property
    def made(self) -> bool:
        return self.path in self.kernel.made

    def has(self, file: str) -> bool:
        return (self.directory / file).is_file()

    def get(self, file: str, default: str = "") -> str:
        """A file's text without white space around it; `default` where it is not there."""
        path = self.directory / file
        return path.read_text(encoding="utf-8").strip() if path.is_file() else default

    def put(self, file: str, text: str) -> None:
        """Set what a file says; the same inode, so that a watcher sees a change."""
        path = self.directory / file
        text = text + "\n" if text and not text.endswith("\n") else text
        if not path.is_file() or path.read_text(encoding="utf-8") == text:
            return
        mode = path.stat().st_mode & 0o7777
        if not mode & 0o200:
            path.chmod(mode | 0o200)
        path.write_text(text, encoding="utf-8")
        if not mode & 0o200:
            path.chmod(mode)

    def set_key(self, file: str, key: str, value: int) -> None:
        """Change one line of a flat keyed file."""
        text = "\n".join(
            f"{key} {value}" if line.partition(" ")[0] == key else line
            for line in self.get(file).splitlines()
        )
        self.put(file, text)

    def key(self, file: str, key: str) -> int:
        """One value of a flat keyed file, 0 where it is not there."""
        lines = (line.split() for line in self.get(file).splitlines())
        return next((int(line[1]) for line in lines if line[0] == key), 0)

    def gain(self, files: dict[str, Entry]) -> None:
        for name, entry in files.items():
            if not self.has(name):
                place(self.directory / name, entry)

    def lose(self, names: Iterable[str]) -> None:
        for name in names:
            (self.directory / name).unlink(missing_ok=True)

    @property
    def pids(self) -> list[int]:
        """The processes in this very group."""
        file = "tasks" if self.kernel.version == 1 else "cgroup.threads"
        return [int(line) for line in self.get(file).split()]

    @property
    def subtree_control(self) -> set[str]:
        return set(self.get("cgroup.subtree_control").split())

    @property
    def threaded(self) -> bool:
        return self.get("cgroup.type") == "threaded"

    @property
    def control(self) -> set[str]:
        """The controllers that this group may enable for its children (cgroup_control)."""
        return set(self.get("cgroup.controllers").split())

    @property
    def populated(self) -> bool:
        if not self.made and self.path != "/" and self.key("cgroup.events", "populated"):
            return True
        return bool(self.pids) or any(child.populated for child in self.children)

    @property
    def domain(self) -> Group:
        """The nearest group that is not threaded (dom_cgrp)."""
        return next((group for group in (self, *self.above()) if not group.threaded), self)

    @property
    def is_thread_root(self) -> bool:
        if self.threaded:
            return False
        if any(child.threaded for child in self.children):
            return True
        return bool(self.pids) and bool(self.subtree_control & THREADED)

    @property
    def is_valid_domain(self) -> bool:
        if self.threaded:
            return False
        inner = [group for group in self.above() if group.path != "/"]
        return not any(group.threaded or group.is_thread_root for group in inner)

    @property
    def can_be_thread_root(self) -> bool:
        if self.path == "/":
            return True
        populated = any(c.populated for c in self.children if not c.threaded)
        return not (self.threaded or populated or self.subtree_control - THREADED)
