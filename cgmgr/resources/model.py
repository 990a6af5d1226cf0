"""What may be asked for, controller by controller, in v2 vocabulary.

Law: data and the checks that hold on every host.  None leaves a setting alone, `MAX` lifts a limit.
Nothing here knows a file, a property or a host; conversions live in the modules beside this one,
files in `cgmgr.controllers`.

Ranges are the kernel's: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/*.rst, scheduler/sched-bwc.rst.
"""

from __future__ import annotations

from cgmgr.errors import RequestError
from cgmgr.record import Record
from cgmgr.units import MAX_U32, MAX_U64, Max

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, TypeVar

    R = TypeVar("R", bound=Record)


def within(name: str, value: int | Max | None, least: int, most: int) -> None:
    """Refuse a number outside its range; None and MAX pass (a field that takes no MAX says so by its type)."""
    if isinstance(value, int) and not least <= value <= most:
        raise RequestError(
            f"{name} is {value}, and must be from {least} to {most}",
            operation=f"set {name}",
            value=str(value),
        )


class Cpu(Record):
    """CPU time.  cgroup-v2.rst "CPU", sched-bwc.rst; realtime is v1 only."""

    weight: int | None = None
    quota_us: int | Max | None = None
    period_us: int | None = None
    burst_us: int | None = None
    idle: bool | None = None
    rt_runtime_us: int | None = None
    rt_period_us: int | None = None

    def check(self) -> None:
        within("cpu.weight", self.weight, 1, 10_000)
        within("cpu.quota_us", self.quota_us, 1_000, MAX_U64 >> 1)
        within("cpu.period_us", self.period_us, 1_000, 1_000_000)
        within("cpu.burst_us", self.burst_us, 0, MAX_U64 >> 1)
        within("cpu.rt_runtime_us", self.rt_runtime_us, -1, MAX_U64 >> 1)
        within("cpu.rt_period_us", self.rt_period_us, 1, MAX_U64 >> 1)
        if self.idle and self.weight is not None:
            raise RequestError(
                "cpu.idle and cpu.weight exclude each other", operation="set cpu.idle", value="1"
            )


class Cpuset(Record):
    """Where tasks may run; ids sorted, as `cgmgr.units.parse_id_list` gives them."""

    PARTITIONS: ClassVar[tuple[str, ...]] = ("member", "root", "isolated")

    cpus: tuple[int, ...] | None = None
    mems: tuple[int, ...] | None = None
    partition: str | None = None

    def check(self) -> None:
        for name in ("cpus", "mems"):
            ids: tuple[int, ...] | None = getattr(self, name)
            if ids is not None and (not ids or ids != tuple(sorted(set(ids))) or ids[0] < 0):
                raise RequestError(
                    f"cpuset.{name} must be sorted ids, at least one, not {ids}",
                    operation=f"set cpuset.{name}",
                    value=str(ids),
                )
        if self.partition is not None and self.partition not in self.PARTITIONS:
            raise RequestError(
                f"cpuset.partition is {self.partition!r}, and must be one of "
                + ", ".join(self.PARTITIONS),
                operation="set cpuset.partition",
                value=self.partition,
            )


class Memory(Record):
    """Memory in bytes.  `swap_bytes` is swap alone; `soft_limit_bytes` is v1's soft limit and v2's low
    when low is not given, as in the OCI specification's `reservation`."""

    max_bytes: int | Max | None = None
    high_bytes: int | Max | None = None
    low_bytes: int | Max | None = None
    min_bytes: int | Max | None = None
    swap_bytes: int | Max | None = None
    soft_limit_bytes: int | Max | None = None
    oom_group: bool | None = None
    swappiness: int | None = None
    oom_kill_disable: bool | None = None

    def check(self) -> None:
        for name, least in (("max", 1), ("high", 1), ("low", 0), ("min", 0), ("swap", 0)):
            within(f"memory.{name}_bytes", getattr(self, f"{name}_bytes"), least, MAX_U64 >> 1)
        within("memory.soft_limit_bytes", self.soft_limit_bytes, 0, MAX_U64 >> 1)
        within("memory.swappiness", self.swappiness, 0, 200)


class DeviceRule(Record):
    """One rule of the device filter.  None as a number means every number.

    `kind` is "a" (everything, the other fields are then ignored), "b" or "c"; `access` is a subset
    of "rwm" in that order; `allow` False denies.
    """

    kind: str
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"
    allow: bool = True

    def check(self) -> None:
        within("devices.major", self.major, 0, MAX_U32)
        within("devices.minor", self.minor, 0, MAX_U32)
        ordered = "".join(letter for letter in "rwm" if letter in self.access)
        if self.kind not in ("a", "b", "c") or not self.access or ordered != self.access:
            raise RequestError(
                f"invalid device rule {self.kind} {self.access!r}: kind is a, b or c, "
                "access a part of rwm",
                operation="set devices",
                value=str(self),
            )

    def __str__(self) -> str:
        numbers = (self.major, self.minor)
        major, minor = ("*" if number is None else str(number) for number in numbers)
        return f"{self.kind} {major}:{minor} {self.access}"


class IoDevice(Record):
    """What one block device gives; `device` is "MAJOR:MINOR" of a whole disk.

    A rate is per second.  `latency_us` is io.latency's target, v2 only.
    """

    device: str
    weight: int | None = None
    rbps: int | Max | None = None
    wbps: int | Max | None = None
    riops: int | Max | None = None
    wiops: int | Max | None = None
    latency_us: int | None = None

    def check(self) -> None:
        major, colon, minor = self.device.partition(":")
        if not (colon and major.isdigit() and minor.isdigit()):
            raise RequestError(
                f"io device is {self.device!r}, and must be MAJOR:MINOR",
                operation="set io",
                value=self.device,
            )
        within(f"io.weight of {self.device}", self.weight, 1, 10_000)
        for name in ("rbps", "wbps", "riops", "wiops"):
            within(f"io {name} of {self.device}", getattr(self, name), 1, MAX_U64 >> 1)
        within(f"io.latency of {self.device}", self.latency_us, 0, MAX_U64 >> 1)


class Io(Record):
    """Block IO, `weight` in v2's scale (100 is the kernel's default)."""

    weight: int | None = None
    devices: tuple[IoDevice, ...] = ()

    def check(self) -> None:
        within("io.weight", self.weight, 1, 10_000)
        names = [device.device for device in self.devices]
        if len(set(names)) != len(names):
            raise RequestError(
                "io names a device twice", operation="set io", value=" ".join(names)
            )


class Pids(Record):
    """How many tasks: processes and threads."""

    max: int | Max | None = None

    def check(self) -> None:
        within("pids.max", self.max, 1, 1 << 22)


class HugetlbLimit(Record):
    """One huge page size, named as the kernel's files name it ("2MB", "1GB")."""

    size: str
    max_bytes: int | Max | None = None
    rsvd_max_bytes: int | Max | None = None

    def check(self) -> None:
        if not self.size.isalnum() or not self.size.isascii():
            raise RequestError(
                f"invalid huge page size {self.size!r}: write one such as 2MB",
                operation="set hugetlb",
                value=self.size,
            )
        for name in ("max_bytes", "rsvd_max_bytes"):
            within(f"hugetlb.{self.size} {name}", getattr(self, name), 0, MAX_U64 >> 1)


class RdmaLimit(Record):
    """One rdma device, such as "mlx4_0"."""

    device: str
    hca_handle: int | Max | None = None
    hca_object: int | Max | None = None

    def check(self) -> None:
        if not self.device or any(c.isspace() or c in "/=\0" for c in self.device):
            raise RequestError(
                f"invalid rdma device {self.device!r}", operation="set rdma", value=self.device
            )
        within(f"rdma hca_handle of {self.device}", self.hca_handle, 0, MAX_U32 >> 1)
        within(f"rdma hca_object of {self.device}", self.hca_object, 0, MAX_U32 >> 1)


class MiscLimit(Record):
    """One resource of the misc controller, such as "sev"."""

    key: str
    max: int | Max | None = None

    def check(self) -> None:
        if not self.key or any(c.isspace() or c in "/=\0" for c in self.key):
            raise RequestError(
                f"invalid misc resource {self.key!r}", operation="set misc", value=self.key
            )
        within(f"misc {self.key}", self.max, 0, MAX_U64 >> 1)


class NetPrio(Record):
    """The priority of a group's packets on one interface; v1 only."""

    interface: str
    priority: int

    def check(self) -> None:
        name = self.interface
        if not 0 < len(name) < 16 or "/" in name or any(c.isspace() or c == "\0" for c in name):
            raise RequestError(
                f"invalid interface {name!r}: 1 to 15 characters, no space, no /",
                operation="set net_prio",
                value=name,
            )
        within(f"net_prio of {name}", self.priority, 0, MAX_U32)


class Raw(Record):
    """One file of the v2 hierarchy, written as it stands, after everything else; several lines are
    several writes."""

    file: str
    value: str

    def check(self) -> None:
        controller, dot, rest = self.file.partition(".")
        plain = self.file.replace(".", "").replace("_", "").replace("-", "")
        if not (controller and dot and rest and plain.isalnum() and plain.isascii()):
            raise RequestError(
                f"invalid cgroup file {self.file!r}: write CONTROLLER.NAME, such as memory.high",
                operation="set unified",
                value=self.file,
            )


class Resources(Record):
    """Everything that a workload may use.  What is None or empty is left as it is.

    `devices` None leaves the filter alone; a tuple is the whole new filter, first rule first, over
    a default of deny.  `frozen` asks for the group's state.  `perf_event` asks for membership.
    """

    cpu: Cpu = Cpu()
    cpuset: Cpuset = Cpuset()
    memory: Memory = Memory()
    devices: tuple[DeviceRule, ...] | None = None
    frozen: bool | None = None
    io: Io = Io()
    pids: Pids = Pids()
    net_cls_classid: int | None = None
    net_prio: tuple[NetPrio, ...] = ()
    hugetlb: tuple[HugetlbLimit, ...] = ()
    rdma: tuple[RdmaLimit, ...] = ()
    misc: tuple[MiscLimit, ...] = ()
    perf_event: bool | None = None
    unified: tuple[Raw, ...] = ()

    def check(self) -> None:
        within("net_cls.classid", self.net_cls_classid, 0, MAX_U32)

    def merge(self, other: Resources) -> Resources:
        """These settings with those of `other` on top; `other` wins where both speak.

        Keyed settings (a device, a page size, ...) are merged by key, field by field.
        """
        return merge_records(self, other)


#: the field that names an entry of a keyed setting
KEYS: dict[type[Record], str] = {
    IoDevice: "device",
    HugetlbLimit: "size",
    RdmaLimit: "device",
    MiscLimit: "key",
    NetPrio: "interface",
    Raw: "file",
}


def merge_records(below: R, above: R) -> R:
    """`below` with what `above` says on top, field by field, keyed tuples entry by entry."""
    changes: dict[str, Any] = {}
    for field, value in above.set_fields().items():
        old = getattr(below, field)
        if isinstance(value, Record) and isinstance(old, Record):
            changes[field] = merge_records(old, value)
        elif isinstance(value, tuple) and old and type(value[0]) in KEYS:
            changes[field] = _merge_keyed(old, value)
        else:
            changes[field] = value
    return below.replace(**changes)


def _merge_keyed(below: tuple[Any, ...], above: tuple[Any, ...]) -> tuple[Any, ...]:
    key = KEYS[type(above[0])]
    entries = {getattr(entry, key): entry for entry in below}
    for entry in above:
        name = getattr(entry, key)
        entries[name] = merge_records(entries[name], entry) if name in entries else entry
    return tuple(entries.values())
