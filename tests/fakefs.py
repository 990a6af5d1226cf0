"""A recorded host to run against: `unpack` lays it out, its groups behave as the kernel's do.

Law: this is where the recordings and the imitation of the kernel meet cgmgr's own types, `Host`,
`Tree` and `Directory`; nothing is imitated here.  What takes a descriptor of a real group (a BPF
program, a clone into the group, a poll for events) is not to be had on a recorded host.

    host = unpack("debian12-unified", tmp_path)
    host.root                        # "…/", to be given to anything that takes `root`
    tree = host.tree(host.v2)        # a FakeTree: mkdir, rmdir and write behave
    host.place(4711, "/a")           # a process, in every hierarchy
    host.fail("/a", "memory.max", errno.EBUSY)
    host.writes                      # what was written so far: (hierarchy, path, file, value)
"""

from __future__ import annotations

import os
from pathlib import Path

from cgmgr import kernfs
from cgmgr.host import V2_NAMES, Hierarchy, Host
from cgmgr.units import parse_id_list

from .fakekernel.core import FakeKernel
from .fakekernel.group import Facts, Template
from .recording import BARE, FRESH, PROBE, Recording


class FakeHost(Host):
    """A recorded host, laid out below `root`; made by `unpack`."""

    recording: Recording

    def __init__(self, root: str, hierarchies: tuple[Hierarchy, ...]) -> None:
        super().__init__(root, hierarchies)
        self._kernels: dict[str, FakeKernel] = {}
        self.writes: list[tuple[str, str, str, str]] = []
        self.faults: dict[tuple[str, str], int] = {}

    def make_tree(self, hierarchy: Hierarchy, magic: int | None) -> kernfs.Tree:
        return FakeTree(self, hierarchy)

    def kernel(self, hierarchy: Hierarchy) -> FakeKernel:
        """What imitates the kernel for one hierarchy."""
        if hierarchy.key not in self._kernels:
            top = Path(hierarchy.mountpoint)
            recorded = "/" + str(top.relative_to(self.root))
            template = Template(self.recording, recorded)
            kernel = FakeKernel(top, hierarchy.version, template, facts_of(self.recording))
            self._kernels[hierarchy.key] = kernel
        return self._kernels[hierarchy.key]

    @property
    def kernels(self) -> list[FakeKernel]:
        return [self.kernel(hierarchy) for hierarchy in self.hierarchies]

    def place(self, pid: int, path: str) -> None:
        """Put a process into the groups of that path, in every hierarchy that has such a group."""
        for kernel in self.kernels:
            if kernel.group(path).directory.is_dir():
                kernel.move(pid, kernel.group(path))

    def exit(self, pid: int) -> None:
        """The process has ended and was reaped."""
        for kernel in self.kernels:
            kernel.move(pid, None)

    def fail(self, path: str, file: str, number: int) -> None:
        """Refuse writes to this file, in every hierarchy, until `faults` forgets it."""
        self.faults[path, file] = number

    def probe(self, controller: str) -> dict[str, str]:
        """The recorded files of a group in use, in the hierarchy that holds this controller."""
        top = "/" + str(Path(self.need(controller).mountpoint).relative_to(self.root))
        files = self.recording.files(f"{top}/{PROBE}")
        return {name: entry.text for name, entry in files.items() if entry.text is not None}


class FakeTree(kernfs.Tree):
    """One hierarchy of a `FakeHost`."""

    def __init__(self, host: FakeHost, hierarchy: Hierarchy) -> None:
        super().__init__(hierarchy.mountpoint)
        self.host = host
        self.hierarchy = hierarchy
        self.kernel = host.kernel(hierarchy)

    def open(self, path: str) -> kernfs.Directory:
        return FakeDirectory(self, path, self._open(path))

    def mkdir(self, path: str) -> None:
        os.close(self._open(kernfs.parent_of(path)))
        self._act("create", path)

    def rmdir(self, path: str) -> None:
        os.close(self._open(path))
        self._act("remove", path)

    def _act(self, operation: str, path: str) -> None:
        try:
            (self.kernel.mkdir if operation == "create" else self.kernel.rmdir)(path)
        except OSError as error:
            raise kernfs.translate(operation, self.absolute(path), error) from error

    def write_file(self, directory: kernfs.Directory, file: str, data: bytes) -> None:
        number = self.host.faults.get((directory.path, file))
        if number is not None:
            raise OSError(number, os.strerror(number))
        self.kernel.write(directory.path, file, data)
        value = data.decode("utf-8", "surrogateescape")
        self.host.writes.append((self.hierarchy.key, directory.path, file, value))


class FakeDirectory(kernfs.Directory):
    """An open group of a `FakeTree`: files that cannot be read, or not now, say so."""

    __slots__ = ()

    def read(self, file: str) -> str:
        tree = self.tree
        number = tree.kernel.refusal(self.path, file) if isinstance(tree, FakeTree) else None
        if number is not None and self.has(file):
            raise self._failed("read", file, OSError(number, os.strerror(number)))
        return super().read(file)


def unpack(tree: Path | str, into: Path, *, made: bool = False) -> FakeHost:
    """Lay out a recorded host below `into`; `tree` is a file, or the name of one in tests/hosts.

    The groups that were made for the recording are left out: `FakeHost.probe` has the one in use,
    and with `made` they are laid out too.
    """
    recording = Recording.load(tree)
    recording.unpack(into, () if made else (FRESH, PROBE, BARE))
    host = FakeHost.detect(str(into))
    assert isinstance(host, FakeHost)
    host.recording = recording
    return host


def facts_of(recording: Recording) -> Facts:
    """What the rules must know of a recorded machine."""
    numbers = [line.split()[0] for line in recording.text("/proc/cgroups").splitlines()[1:]]
    entries = recording.entries
    names = {kind: _names(recording, f"/sys/class/{kind}/") for kind in ("net", "infiniband")}
    disks = [
        recording.text(path).strip()
        for path in entries
        if path.endswith("/dev") and "/block/" in path and f"{path[:-4]}/partition" not in entries
    ]
    return Facts(
        compiled=frozenset(V2_NAMES.get(name, name) for name in numbers),
        cpus=_ids(recording, "/sys/devices/system/cpu/online"),
        mems=_ids(recording, "/sys/devices/system/node/online"),
        disks=frozenset(disks),
        interfaces=names["net"],
        rdma=names["infiniband"],
        rt_period=int(recording.text("/proc/sys/kernel/sched_rt_period_us")),
        rt_runtime=int(recording.text("/proc/sys/kernel/sched_rt_runtime_us")),
    )


def _names(recording: Recording, prefix: str) -> frozenset[str]:
    return frozenset(
        path.removeprefix(prefix) for path in recording.entries if path.startswith(prefix)
    )


def _ids(recording: Recording, path: str) -> frozenset[int]:
    return frozenset(parse_id_list(recording.text(path)))
