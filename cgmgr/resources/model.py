"""What may be asked for, controller by controller, in v2 vocabulary.

Law: data and the checks that hold on every host.  None leaves a setting alone, `MAX` lifts a limit.
Nothing here knows a file, a property or a host; conversions live in the modules beside this one,
files in `cgmgr.controllers`.  What has one entry a name (disks, page sizes, ...) is kept sorted by
that name, so that equal requests are equal.

Ranges are the kernel's: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/*.rst,
scheduler/sched-bwc.rst.
"""

from __future__ import annotations

from cgmgr.errors import RequestError
from cgmgr.record import Record
from cgmgr.units import MAX_ID, MAX_U32, MAX_U64, Max

from . import checks
from .formulas import QUOTA_MOST, shares_to_weight, weight_to_shares

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

_MOST = MAX_U64 >> 1
_RT_MOST = MAX_U64 // 1_000
_LIMIT: checks.Range = (0, _MOST, True)
_NONZERO: checks.Range = (1, _MOST, True)
_WEIGHT: checks.Range = (1, 10_000, False)


class Cpu(Record):
    """CPU time.  cgroup-v2.rst "CPU", sched-bwc.rst; realtime is v1 only.

    `shares` is v1's own number where it was asked in that scale: v1 is written it as it is, all
    else uses `weight`, which `shares_to_weight` made of it.  It is None where `weight` alone leads
    back to it.
    """

    RANGES: ClassVar[dict[str, checks.Range]] = {
        "weight": _WEIGHT,
        "quota_us": (1_000, QUOTA_MOST, True),
        "period_us": (1_000, 1_000_000, False),
        "burst_us": (0, QUOTA_MOST, False),
        "rt_runtime_us": (0, _RT_MOST, True),
        "rt_period_us": (1, _RT_MOST, False),
        "shares": (2, 262_144, False),
    }

    weight: int | None = None
    quota_us: int | Max | None = None
    period_us: int | None = None
    burst_us: int | None = None
    idle: bool | None = None
    rt_runtime_us: int | Max | None = None
    rt_period_us: int | None = None
    shares: int | None = None

    def check(self) -> None:
        checks.ranges(self, self.RANGES, "cpu.")
        checks.flags(self, ("idle",), "cpu.")
        if self.idle and self.weight is not None:
            raise RequestError(
                "cpu.idle and cpu.weight exclude each other", operation="set cpu.idle", value="1"
            )
        # kernel/sched: core.c tg_set_cfs_bandwidth, rt.c tg_rt_schedulable
        self._check_order("burst_us", "quota_us")
        self._check_order("rt_runtime_us", "rt_period_us")
        if self.shares is not None:
            self._check_shares(self.shares)

    def _check_order(self, less: str, more: str) -> None:
        part, whole = getattr(self, less), getattr(self, more)
        if isinstance(part, int) and isinstance(whole, int) and part > whole:
            raise checks.refuse(f"cpu.{less}", part, f"no more than cpu.{more}, {whole}")

    def _check_shares(self, shares: int) -> None:
        weight = shares_to_weight(shares)
        if self.weight != weight:
            raise checks.refuse("cpu.weight", self.weight, f"{weight} beside {shares} shares")
        if weight_to_shares(weight) == shares:
            self._settle("shares", None)


class Cpuset(Record):
    """Where tasks may run; ids sorted, as `cgmgr.units.parse_id_list` gives them."""

    PARTITIONS: ClassVar[tuple[str, ...]] = ("member", "root", "isolated")

    RANGES: ClassVar[dict[str, checks.Range]] = {}

    cpus: tuple[int, ...] | None = None
    mems: tuple[int, ...] | None = None
    partition: str | None = None

    def check(self) -> None:
        checks.ids("cpuset.cpus", self.cpus, MAX_ID)
        checks.ids("cpuset.mems", self.mems, MAX_ID)
        if self.partition is not None and self.partition not in self.PARTITIONS:
            wanted = "one of " + ", ".join(self.PARTITIONS)
            raise checks.refuse("cpuset.partition", self.partition, wanted)


class Memory(Record):
    """Memory in bytes.  `swap_bytes` is swap alone; `soft_limit_bytes` is v1's soft limit and v2's
    low when low is not given, as in the OCI specification's `reservation`."""

    RANGES: ClassVar[dict[str, checks.Range]] = {
        "max_bytes": _NONZERO,
        "high_bytes": _NONZERO,
        "low_bytes": _LIMIT,
        "min_bytes": _LIMIT,
        "swap_bytes": _LIMIT,
        "soft_limit_bytes": _LIMIT,
        "swappiness": (0, 200, False),
    }

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
        checks.ranges(self, self.RANGES, "memory.")
        checks.flags(self, ("oom_group", "oom_kill_disable"), "memory.")


class DeviceRule(Record):
    """One rule of the device filter: `kind` is "b", "c", or "a" for everything, whatever the other
    fields say; None is every number; `access` is a part of "rwm" in that order."""

    RANGES: ClassVar[dict[str, checks.Range]] = {
        "major": (0, MAX_U32, False),
        "minor": (0, MAX_U32, False),
    }

    kind: str
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"
    allow: bool = True

    def check(self) -> None:
        checks.ranges(self, self.RANGES, "devices.")
        if type(self.allow) is not bool:
            raise checks.refuse("devices.allow", self.allow, "True or False")
        if self.kind not in ("a", "b", "c"):
            raise checks.refuse("devices.kind", self.kind, "a, b or c")
        if self.access not in ("r", "w", "m", "rw", "rm", "wm", "rwm"):
            raise checks.refuse("devices.access", self.access, "a part of rwm")

    def __str__(self) -> str:
        numbers = (self.major, self.minor)
        major, minor = ("*" if number is None else str(number) for number in numbers)
        return f"{self.kind} {major}:{minor} {self.access}"


class IoDevice(Record):
    """What one block device gives; `device` is "MAJOR:MINOR" of a whole disk, a rate is per second,
    `latency_us` is io.latency's target, v2 only."""

    RANGES: ClassVar[dict[str, checks.Range]] = {
        "weight": _WEIGHT,
        "rbps": _NONZERO,
        "wbps": _NONZERO,
        "riops": _NONZERO,
        "wiops": _NONZERO,
        "latency_us": (0, _MOST, False),
    }

    device: str
    weight: int | None = None
    rbps: int | Max | None = None
    wbps: int | Max | None = None
    riops: int | Max | None = None
    wiops: int | Max | None = None
    latency_us: int | None = None

    def check(self) -> None:
        numbers = str(self.device).split(":")
        plain = [n.isascii() and n.isdigit() and n == str(int(n[:10])) for n in numbers]
        if plain != [True, True]:
            raise checks.refuse("io device", self.device, "MAJOR:MINOR, such as 8:0")
        checks.ranges(self, self.RANGES, "io.", f" of {self.device}")
        checks.something(self, "io device", self.device)


class Io(Record):
    """Block IO, `weight` in v2's scale (100 is the kernel's default)."""

    RANGES: ClassVar[dict[str, checks.Range]] = {"weight": _WEIGHT}

    weight: int | None = None
    devices: tuple[IoDevice, ...] = ()

    def check(self) -> None:
        checks.ranges(self, self.RANGES, "io.")
        if self.devices:
            self._settle("devices", checks.entries("io", self.devices, IoDevice, _disk_number))


def _disk_number(device: IoDevice) -> tuple[int, ...]:
    return tuple(int(number) for number in device.device.split(":"))


class Pids(Record):
    """How many tasks: processes and threads."""

    #: include/linux/threads.h PID_MAX_LIMIT
    RANGES: ClassVar[dict[str, checks.Range]] = {"max": (1, 1 << 22, True)}

    max: int | Max | None = None

    def check(self) -> None:
        checks.ranges(self, self.RANGES, "pids.")


class HugetlbLimit(Record):
    """One huge page size, named as the kernel's files name it ("2MB", "1GB").

    `max_bytes` counts pages when they are touched, `rsvd_max_bytes` when they are reserved.
    """

    RANGES: ClassVar[dict[str, checks.Range]] = {"max_bytes": _LIMIT, "rsvd_max_bytes": _LIMIT}

    size: str
    max_bytes: int | Max | None = None
    rsvd_max_bytes: int | Max | None = None

    def check(self) -> None:
        size = str(self.size)
        number, unit = size[:-2], size[-2:]
        if unit not in ("KB", "MB", "GB") or not (number.isascii() and number.isdigit()):
            raise checks.refuse("huge page size", self.size, "written as 64KB, 2MB or 1GB")
        checks.ranges(self, self.RANGES, f"hugetlb.{size}.")
        checks.something(self, "huge page size", size)


class RdmaLimit(Record):
    """One rdma device, such as "mlx4_0"."""

    #: drivers of the kernel read 2^31 - 1 as "max" (kernel/cgroup/rdma.c)
    RANGES: ClassVar[dict[str, checks.Range]] = {
        "hca_handle": (0, (1 << 31) - 2, True),
        "hca_object": (0, (1 << 31) - 2, True),
    }

    device: str
    hca_handle: int | Max | None = None
    hca_object: int | Max | None = None

    def check(self) -> None:
        checks.name("rdma device", self.device, "/=,")
        checks.ranges(self, self.RANGES, "rdma.", f" of {self.device}")
        checks.something(self, "rdma device", self.device)


class MiscLimit(Record):
    """One resource of the misc controller, such as "sev"."""

    RANGES: ClassVar[dict[str, checks.Range]] = {"max": _LIMIT}

    key: str
    max: int | Max | None = None

    def check(self) -> None:
        checks.name("misc resource", self.key, "/=,")
        checks.ranges(self, self.RANGES, "misc.", f" of {self.key}")
        checks.something(self, "misc resource", self.key)


class NetPrio(Record):
    """The priority of a group's packets on one interface; v1 only."""

    RANGES: ClassVar[dict[str, checks.Range]] = {"priority": (0, MAX_U32, False)}

    interface: str
    priority: int

    def check(self) -> None:
        # net/core/dev.c dev_valid_name
        checks.name("interface", self.interface, "/:", most=15)
        if self.interface in (".", ".."):
            raise checks.refuse("interface", self.interface, "a name")
        checks.ranges(self, self.RANGES, "net_prio.", f" of {self.interface}")
        checks.something(self, "interface", self.interface)


class Raw(Record):
    """One file of the v2 hierarchy, written as it stands, after everything else; several lines are
    several writes."""

    #: acts, not settings: they move or kill processes, or change what other groups may be
    ACTS: ClassVar[tuple[str, ...]] = (
        "cgroup.kill",
        "cgroup.procs",
        "cgroup.subtree_control",
        "cgroup.threads",
        "cgroup.type",
    )

    file: str
    value: str

    def check(self) -> None:
        controller, dot, rest = str(self.file).partition(".")
        plain = str(self.file).replace(".", "").replace("_", "").replace("-", "")
        if not (controller and dot and rest and plain.isalnum() and plain.isascii()):
            wanted = "written as CONTROLLER.NAME, such as memory.high"
            raise checks.refuse("cgroup file", self.file, wanted)
        if self.file in self.ACTS:
            raise checks.refuse("cgroup file", self.file, "a setting, not an act")
        checks.text(self.file, self.value)


class Resources(Record):
    """Everything that a workload may use.  What is None or empty is left as it is.

    `devices` is the whole new filter, first rule first, over a default of deny.  `frozen` asks for
    the group's state, `perf_event` for membership.  `unified` is written in its order.
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
        for field, kind in SECTIONS.items():
            if type(getattr(self, field)) is not kind:
                raise checks.refuse(field, getattr(self, field), f"a {kind.__name__}")
        for field, entry in KEYED.items():
            values = getattr(self, field)
            if values:
                ordered = checks.entries(field, values, entry, _name)
                self._settle(field, ordered if entry is not Raw else tuple(values))
        if self.devices is not None:
            self._settle("devices", tuple(self.devices))
            for rule in self.devices:
                if type(rule) is not DeviceRule:
                    raise checks.refuse("devices", rule, "made of DeviceRule")
        checks.flags(self, ("frozen", "perf_event"), "")
        checks.ranges(self, {"net_cls_classid": (0, MAX_U32, False)}, "")

    @staticmethod
    def of(**words: Any) -> Resources:
        """Resources from words: `Resources.of(memory="64M", cpus=0.5)`; see `resources.words`."""
        from .words import resources_of

        return resources_of(**words)

    def merge(self, other: Resources) -> Resources:
        """These settings with those of `other` on top, keyed ones by key and field by field."""
        from .merge import merge_records

        return merge_records(self, other)


def _name(entry: Record) -> str:
    """What an entry of a keyed setting is named by."""
    return str(getattr(entry, KEYS[type(entry)]))


SECTIONS: dict[str, type[Record]] = {
    "cpu": Cpu,
    "cpuset": Cpuset,
    "memory": Memory,
    "io": Io,
    "pids": Pids,
}

#: settings with one entry a name
KEYED: dict[str, type[Record]] = {
    "net_prio": NetPrio,
    "hugetlb": HugetlbLimit,
    "rdma": RdmaLimit,
    "misc": MiscLimit,
    "unified": Raw,
}

#: the field that names an entry of a keyed setting
KEYS: dict[type[Record], str] = {
    IoDevice: "device",
    HugetlbLimit: "size",
    RdmaLimit: "device",
    MiscLimit: "key",
    NetPrio: "interface",
    Raw: "file",
}
