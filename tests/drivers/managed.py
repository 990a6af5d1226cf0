"""A systemd to test the driver with on recorded hosts: its verbs, and the groups that follow.

Law: what systemd does to the hierarchies in each layout (src/core/cgroup.c), written down apart
from the driver: it makes a unit's groups where it manages controllers, switches controllers on
above it, writes the limits that it is told, and removes the groups with the unit.  No bus is here,
nor a process: the keeper is a number that is in groups.

    systemd = FakeSystemd(host)
    systemd.fail("start", error)           the verb fails, and nothing is done
    systemd.fail("start", error, after=True)      it is done, and fails then
    systemd.told                           (verb, unit, properties as people write them)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgmgr.drivers import units
from cgmgr.drivers.systemd1 import Systemd1
from cgmgr.errors import CgmgrError, NameTaken, NoSuchGroup
from cgmgr.host import UNIFIED
from cgmgr.resources.systemd_write import INFINITY
from tests.fakefs import FakeHost
from tests.fakekernel.core import FakeKernel

if TYPE_CHECKING:
    from cgmgr.drivers.systemd1 import Property

#: property -> the controller, its file, and what the file gets
FILES_V2 = {
    "CPUQuotaPerSecUSec": ("cpu", ""),
    "MemoryMax": ("memory", "memory.max"),
    "MemorySwapMax": ("memory", "memory.swap.max"),
    "MemoryHigh": ("memory", "memory.high"),
    "TasksMax": ("pids", "pids.max"),
    "CPUWeight": ("cpu", "cpu.weight"),
}
FILES_V1 = {
    "CPUQuotaPerSecUSec": ("cpu", ""),
    "MemoryLimit": ("memory", "memory.limit_in_bytes"),
    "TasksMax": ("pids", "pids.max"),
    "CPUShares": ("cpu", "cpu.shares"),
}
#: what delegation and accounting switch on in a unified hierarchy
SWITCHED_ON = "+cpu +io +memory +pids"
SIGNATURES = {
    "scope": {"RuntimeMaxUSec": "t", "KillMode": "s", "SendSIGHUP": "b"},
    "slice": {"CollectMode": "s"},
}


class FakeSystemd(Systemd1):
    """Systemd's manager, as the driver knows it."""

    def __init__(self, host: FakeHost, version: int = 252) -> None:
        super().__init__(_no_bus)
        self.host = host
        self._version = version
        self.units: dict[str, str] = {}
        """the units that there are, and where"""
        self.descriptions: dict[str, str] = {}
        self.told: list[tuple[str, str, tuple[str, ...]]] = []
        self.faults: dict[str, tuple[CgmgrError, bool]] = {}

    def fail(self, verb: str, error: CgmgrError, *, after: bool = False) -> None:
        self.faults[verb] = (error, after)

    def start(self, unit: str, properties: Sequence[Property]) -> None:
        self._before("start", unit, properties)
        if unit in self.units:
            raise NameTaken(f"start unit {unit}: it is there")
        rows = {name: value for name, _, value in properties}
        place = units.Unit(
            name=unit,
            slice=rows.get("Slice") or units.parent_slice(unit),
            kind="slice" if unit.endswith(".slice") else "scope",
        ).path
        for name in _down_to(place):
            self._realize(name)
        for pid in rows.get("PIDs", ()):
            self._join(pid, place)
        self.units[unit], self.descriptions[unit] = place, rows["Description"]
        self._write(place, properties)
        self._after("start")

    def stop(self, unit: str) -> None:
        self._before("stop", unit)
        place = self.units.pop(unit, None)
        if place is not None:
            self._kill(place)
            self._unrealize(place)
        self._after("stop")

    def stop_unused(self, unit: str) -> bool:
        self._before("stop_unused", unit)
        self.units.pop(unit, None)
        self._unrealize(units.expand(unit))
        self._after("stop_unused")
        return True

    def set_properties(self, unit: str, properties: Sequence[Property]) -> None:
        self._before("set_properties", unit, properties)
        if unit not in self.units:
            raise NoSuchGroup(f"set properties of {unit}: it is not there")
        self._write(self.units[unit], properties)
        self._after("set_properties")

    def reset_failed(self, unit: str) -> bool:
        return unit in self.units

    def state(self, unit: str) -> str:
        return "active" if unit in self.units else "inactive"

    def description(self, unit: str) -> str:
        return self.descriptions.get(unit, unit)

    def signatures(self, unit: str) -> dict[str, str]:
        return SIGNATURES[unit.rpartition(".")[2]]

    def values(self, unit: str, names: Iterable[str]) -> list[Property]:
        return [(name, self.signatures(unit)[name], INFINITY) for name in names]

    # -- what it does to the hierarchies

    def realized(self) -> list[FakeKernel]:
        """The hierarchies in which units that are delegated have groups."""
        if self.host.mode == UNIFIED:
            return self.host.kernels
        names = {"cpu", "cpuacct", "io", "memory", "pids", "devices", "name=systemd"}
        return [
            self.host.kernel(h)
            for h in self.host.hierarchies
            if h.version == 2 or names & set(h.controllers)
        ]

    def _realize(self, path: str) -> None:
        for kernel in self.realized():
            if self.host.mode == UNIFIED:
                above = kernel.group(path).parent
                assert above is not None
                kernel.write(above.path, "cgroup.subtree_control", SWITCHED_ON.encode())
            if not kernel.group(path).directory.is_dir():
                kernel.mkdir(path)

    def _unrealize(self, path: str) -> None:
        for kernel in self.realized():
            group = kernel.group(path)
            if not group.directory.is_dir() or group.populated:
                continue
            for one in reversed(list(group.below())):
                kernel.rmdir(one.path)

    def _kill(self, path: str) -> None:
        for kernel in self.realized():
            group = kernel.group(path)
            if group.directory.is_dir():
                for pid in [pid for one in group.below() for pid in one.pids]:
                    self.host.exit(pid)

    def _join(self, pid: int, path: str) -> None:
        lines: list[str] = []
        for number, kernel in enumerate(self.realized()):
            hierarchy = next(h for h in self.host.hierarchies if self.host.kernel(h) is kernel)
            kernel.move(pid, kernel.group(path))
            lines.append(f"{number if hierarchy.version == 1 else 0}:{hierarchy.key}:{path}")
        about = Path(self.host.root, f"proc/{pid}")
        about.mkdir(parents=True, exist_ok=True)
        (about / "cgroup").write_text("\n".join(lines) + "\n")

    def _write(self, path: str, properties: Sequence[Property]) -> None:
        unified = self.host.mode == UNIFIED
        for name, _, value in properties:
            controller, file = (FILES_V2 if unified else FILES_V1).get(name, ("", ""))
            holder = self.host.holder(controller)
            if holder is None or (holder.version == 2) is not unified:
                continue
            if name == "CPUQuotaPerSecUSec":
                self._write_quota(path, value)
                continue
            none = "-1" if file.endswith("_bytes") else "max"
            if value == INFINITY and name in ("CPUWeight", "CPUShares"):
                continue
            text = none if value == INFINITY else str(value)
            self.host.kernel(holder).write(path, file, text.encode())

    def _write_quota(self, path: str, per_second: int) -> None:
        """Of a period of 100 ms, the default."""
        kernel = self.host.kernel(self.host.need("cpu"))
        none = per_second == INFINITY
        if kernel.version == 2:
            quota = "max" if none else str(per_second // 10)
            kernel.write(path, "cpu.max", f"{quota} 100000".encode())
        else:
            quota = "-1" if none else str(per_second // 10)
            kernel.write(path, "cpu.cfs_quota_us", quota.encode())

    def _before(self, verb: str, unit: str, properties: Sequence[Property] = ()) -> None:
        said = (f"{name}={value}" for name, _, value in properties)
        self.told.append((verb, unit, tuple(said)))
        error, after = self.faults.get(verb, (None, False))
        if error is not None and not after:
            raise error

    def _after(self, verb: str) -> None:
        error, after = self.faults.get(verb, (None, False))
        if error is not None and after:
            raise error


class FakeKeeper:
    """A process that is only a number; it is in groups, and leaves them when it is killed."""

    def __init__(self, host: FakeHost, pid: int) -> None:
        self.host = host
        self.pid = pid
        self.released = False
        for kernel in host.kernels:
            kernel.move(pid, kernel.root)

    def let_go(self) -> None:
        self.released = True

    def wait_executed(self, timeout: float | None = None) -> None:
        """It is as far as it will get."""
        del timeout
        assert self.released

    def kill(self) -> None:
        self.host.exit(self.pid)

    def wait_ended(self, timeout: float | None = None) -> None:
        """It is no more."""

    def close(self) -> None:
        """There is nothing open."""


def _down_to(place: str) -> list[str]:
    words = place.strip("/").split("/")
    return ["/" + "/".join(words[: n + 1]) for n in range(len(words))]


def _no_bus() -> Any:
    raise AssertionError("there is no bus here")
