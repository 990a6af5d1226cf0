"""What systemd is told of a group, and what its own group holds then.

Law: pure.  systemd is told every value that it can express, "infinity" and 0 included, because it
writes over what it was not told (systemd.resource-control(5); runc#1605).  What it cannot express
goes to files, and that is the driver's business.

- Only controllers that systemd manages on this host count: on a host with v1 those that v1 holds;
  a limit that it takes and holds nowhere (TasksMax where pids is on the cgroup2 side of a hybrid
  host) is not told.
- v1's device list is not told: systemd applies one as "deny all, then allow", which takes the
  devices from the groups below for good and breaks running processes (runc#2204).  A scope is
  made with a list of everything instead: without one the device hierarchy is not systemd's
  business, and a daemon-reload removes empty groups of the unit there (cg_trim_v1_controllers).
  With groups below the kernel takes no "deny all" any more, so the list stays as it is.
- What decides among neighbours, and systemd has no property for, is written to the unit's own group
  by us, to files that systemd never writes (`beside_neighbours`).
- A scope has one task more than the group: the keeper.
"""

from __future__ import annotations

import contextlib

from cgmgr.errors import ControllerUnavailable, RequestError
from cgmgr.host import UNIFIED
from cgmgr.resources import Resources
from cgmgr.resources.files import from_files
from cgmgr.resources.model import Pids
from cgmgr.resources.systemd import from_properties, properties
from cgmgr.resources.systemd_write import IDLE_SINCE, V1_WEIGHTS, without_raw
from cgmgr.units import MAX

from .units import SCOPE_KIND, SLICE_KIND, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

    from cgmgr.driver import Observed, Request
    from cgmgr.errors import HostError
    from cgmgr.host import Host

    from .systemd1 import Property
    from .units import Unit

KEEPERS: Final = 1
#: controllers that systemd manages in a unit's own group
_ON_V2: Final = ("cpu", "cpuset", "io", "memory", "pids", "devices")
_ON_V1: Final = ("cpu", "io", "memory", "pids")
#: the property that asks for counting, by controller, and on which version of the hierarchy
_ACCOUNTING: Final = {
    2: ("CPUAccounting", "MemoryAccounting", "IOAccounting", "TasksAccounting"),
    1: ("CPUAccounting", "MemoryAccounting", "BlockIOAccounting", "TasksAccounting"),
}
#: every device, as DeviceAllow has it
_EVERYTHING: Final = [("char-*", "rwm"), ("block-*", "rwm")]
#: property -> the version of systemd that brought it
_COLLECT_SINCE: Final = 236
#: a scope is stopped when something in it runs out of memory, unless this says otherwise
_OOM_POLICY_SINCE: Final = 253


def version_of(host: Host) -> int:
    """The version of the hierarchy whose properties systemd takes on this host."""
    return 2 if host.mode == UNIFIED else 1


def managed(host: Host) -> tuple[str, ...]:
    """The controllers whose files in a unit's own group are systemd's to write."""
    version = version_of(host)
    names = _ON_V2 if version == 2 else _ON_V1
    return tuple(
        name for name in names if (h := host.holder(name)) is not None and h.version == version
    )


def realized(host: Host) -> tuple[str, ...]:
    """The keys of the hierarchies in which systemd makes and removes the groups of units that are
    delegated, or that count (src/core/cgroup.c, unit_get_own_mask)."""
    if version_of(host) == 2:
        return ("",)
    names = ("cpuacct", "devices", *managed(host))
    return ("", "name=systemd", *{h.key for name in names if (h := host.holder(name)) is not None})


def present(inner: Observed, host: Host) -> Resources:
    """What the group holds now, of the controllers that systemd is told about."""
    found = Resources()
    for name in managed(host):
        scene = inner.scenes.get(name)
        if scene is None or name == "devices":
            continue
        for file, text in scene.files.items():
            if text:
                with contextlib.suppress(RequestError):
                    found = found.merge(from_files(scene.version, {file: text}))
    return found


def told(resources: Resources, host: Host) -> Resources:
    """The part of a request that systemd is told of."""
    said = without_raw(resources) if version_of(host) == 2 else resources
    fields = {"devices" if name == "devices" else name for name in managed(host)}
    return Resources().replace(
        **{field: value for field, value in said.set_fields().items() if field in fields}
    )


def limits(
    resources: Resources, host: Host, unit: Unit, systemd: int, *, new: bool
) -> list[Property]:
    """The properties that hold this in the unit's own group.

    A new unit is told that it has no limit of tasks where none is asked, since systemd has a
    default for it (DefaultTasksMax), which no other driver has.
    """
    said = told(resources, host)
    most = said.pids.max
    if unit.kind == SCOPE_KIND and isinstance(most, int):
        _, largest, _ = Pids.RANGES["max"]
        said = said.replace(pids=Pids(max=most + KEEPERS if most < largest else MAX))
    elif new and most is None and "pids" in managed(host):
        said = said.replace(pids=Pids(max=MAX))
    return properties(said, version=version_of(host), systemd=systemd)


def holdable(request: Request, host: Host) -> tuple[Request, tuple[HostError, ...]]:
    """The request without what systemd would write over, and why; raises without best effort."""
    weight = request.resources.io.weight
    low, high = V1_WEIGHTS
    if weight is None or version_of(host) == 2 or low <= weight <= high:
        return request, ()
    holder = host.holder("io")
    error = ControllerUnavailable(
        f"io_weight cannot be {weight}: on cgroup v1 systemd takes {low} to {high}, and writes 500 "
        "where it was told nothing",
        controller="io",
        missing_at=holder.mountpoint if holder is not None else None,
        operation="set io_weight",
        path=request.group,
        value=str(weight),
        hint="--driver cgroupfs",
    )
    if not request.best_effort:
        raise error
    io = request.resources.io.replace(weight=None)
    return request.replace(resources=request.resources.replace(io=io)), (error,)


def beside_neighbours(host: Host, systemd: int) -> tuple[str, ...]:
    """Files that say what a group gets beside its neighbours, which a leaf has none of, and that
    this systemd never writes."""
    if version_of(host) == 1:
        return ("cpu.idle", "blkio.bfq.weight_device", "blkio.weight_device")
    return () if systemd >= IDLE_SINCE else ("cpu.idle",)


def emptied(sent: list[Property]) -> list[Property]:
    """Properties that are lists, or sets of CPUs, empty: what is said is added to a list, and goes
    only with all of it."""
    empty: dict[str, Any] = {"ay": b"", "a(st)": [], "a(ss)": []}
    rows: list[Property] = [(name, kind, empty[kind]) for name, kind, _ in sent if kind in empty]
    if any(name == "DevicePolicy" for name, _, _ in sent):
        rows.append(("DevicePolicy", "s", "auto"))
    return rows


def held(sent: list[Property]) -> Resources:
    """What the unit's own group has to hold once systemd was told this."""
    return from_properties((name, value) for name, _, value in sent)


def description(unit: Unit) -> str:
    """By what systemctl shows a unit of ours, and we know it again."""
    return f"cgmgr group {shown(unit.path)}"


def creation(unit: Unit, host: Host, systemd: int) -> list[Property]:
    """The properties of a new unit that limit nothing."""
    rows: list[Property] = [("Description", "s", description(unit))]
    rows += [(name, "b", True) for name in _ACCOUNTING[version_of(host)]]
    if unit.kind == SLICE_KIND:
        return rows
    rows += [("Slice", "s", unit.slice), ("Delegate", "b", True)]
    if version_of(host) == 1:
        rows += [("DevicePolicy", "s", "strict"), ("DeviceAllow", "a(ss)", _EVERYTHING)]
    if systemd >= _COLLECT_SINCE:
        # a scope whose processes were killed is "failed", and would stay (runc#3932)
        rows.append(("CollectMode", "s", "inactive-or-failed"))
    if systemd >= _OOM_POLICY_SINCE:
        rows.append(("OOMPolicy", "s", "continue"))
    return rows


def foreign(host: Host, wanted: list[str]) -> list[str]:
    """Of the controllers to be switched on on cgroup2, those that systemd switches on for nobody
    (hugetlb, rdma, misc; on a hybrid host all of them)."""
    theirs = managed(host) if version_of(host) == 2 else ()
    return [name for name in wanted if name not in theirs]


def shrinks(asked: Mapping[str, str], present: Mapping[str, str | None]) -> bool:
    """Whether some limit gets smaller; `asked` and `present` are files' texts.

    A group must not be left promising more than the one above it has (v1's cpu.cfs_quota_us), so
    the group below shrinks before the one above, and grows after it.
    """
    return any(_amount(text) < _amount(present.get(file) or "max") for file, text in asked.items())


def _amount(text: str) -> float:
    """A limit as a number; cpu.max as quota by period."""
    words = text.split()
    if not words or words[0] in ("max", "-1"):
        return float("inf")
    try:
        numbers = [float(word) for word in words[:2]]
    except ValueError:
        return float("inf")
    return numbers[0] / numbers[1] if len(numbers) == 2 and numbers[1] else numbers[0]
