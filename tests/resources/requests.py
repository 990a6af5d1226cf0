"""Requests: short ones for tables, and for property tests every setting, over its whole range, with
the ends tried often.

Law: only what `cgmgr.resources.model` takes is made here; what it refuses has tests of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import strategies as st

from cgmgr.record import Record
from cgmgr.resources import (
    Cpu,
    Cpuset,
    DeviceRule,
    HugetlbLimit,
    Io,
    IoDevice,
    Memory,
    MiscLimit,
    NetPrio,
    Pids,
    Raw,
    RdmaLimit,
    Resources,
)
from cgmgr.resources.formulas import shares_to_weight
from cgmgr.units import MAX, MAX_ID, MAX_U32

if TYPE_CHECKING:
    from cgmgr.resources.checks import Range

R = TypeVar("R", bound=Record)
Strategy = st.SearchStrategy[Any]  # of a field's value


def memory(**fields: Any) -> Resources:
    return Resources(memory=Memory(**fields))


def cpu(**fields: Any) -> Resources:
    return Resources(cpu=Cpu(**fields))


def disks(*devices: IoDevice) -> Resources:
    return Resources(io=Io(devices=devices))


def number(least: int, most: int, takes_max: bool) -> Strategy:
    """A number of a range, its ends as likely as all others; MAX where it is taken."""
    numbers = st.sampled_from((least, most)) | st.integers(least, most)
    return numbers | st.just(MAX) if takes_max else numbers


def fields(table: dict[str, Range]) -> dict[str, Strategy]:
    return {name: st.none() | number(*bounds) for name, bounds in table.items()}


def said(kind: type[R], key: Strategy, table: dict[str, Range]) -> st.SearchStrategy[R]:
    """Entries of a keyed setting that say something."""
    name, *_ = kind.__fields__
    return (
        st.fixed_dictionaries({}, optional={field: number(*table[field]) for field in table})
        .filter(bool)
        .flatmap(lambda values: key.map(lambda k: kind(**{name: k}, **values)))
    )


def keyed(entries: st.SearchStrategy[R]) -> st.SearchStrategy[tuple[R, ...]]:
    """Up to three entries, each key once."""
    return st.lists(entries, max_size=3, unique_by=lambda e: getattr(e, e.__fields__[0])).map(tuple)


ids = st.frozensets(st.integers(0, MAX_ID) | st.integers(0, 9), min_size=1, max_size=9).map(
    lambda numbers: tuple(sorted(numbers))
)
flags = st.none() | st.booleans()


@st.composite
def cpus(draw: st.DrawFn) -> Cpu:
    values = draw(st.fixed_dictionaries(fields(Cpu.RANGES)))
    values["idle"] = draw(flags)
    if values["shares"] is not None:
        values["weight"] = shares_to_weight(values["shares"])
    if values["weight"] is not None and values["idle"]:
        values["idle"] = False
    quota, burst = values["quota_us"], values["burst_us"]
    if isinstance(quota, int) and burst is not None:
        values["burst_us"] = min(quota, burst)
    runtime, period = values["rt_runtime_us"], values["rt_period_us"]
    if isinstance(runtime, int) and period is not None:
        values["rt_runtime_us"] = min(runtime, period)
    return Cpu(**values)


cpusets = st.builds(
    Cpuset,
    cpus=st.none() | ids,
    mems=st.none() | ids,
    partition=st.none() | st.sampled_from(Cpuset.PARTITIONS),
)
memories = st.builds(Memory, oom_group=flags, oom_kill_disable=flags, **fields(Memory.RANGES))
numbers_or_all = st.none() | number(0, MAX_U32, False)
rules = st.builds(
    DeviceRule,
    kind=st.sampled_from("abc"),
    major=numbers_or_all,
    minor=numbers_or_all,
    access=st.sampled_from(("r", "w", "m", "rw", "rm", "wm", "rwm")),
    allow=st.booleans(),
)
disk_numbers = st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda n: f"{n[0]}:{n[1]}")
ios = st.builds(
    Io,
    weight=st.none() | number(1, 10_000, False),
    devices=keyed(said(IoDevice, disk_numbers, IoDevice.RANGES)),
)


def names(forbidden: str, most: int) -> Strategy:
    """Names with whatever the kernel takes, of one to four bytes a letter."""
    letters = [c for c in "aZ09._-+@=,:#\"'\\*é漢\U0001f427" if c not in forbidden]
    return st.text(st.sampled_from(letters), min_size=1, max_size=most).filter(
        lambda text: len(text.encode()) <= most and text not in (".", "..")
    )


sizes = st.sampled_from(("64KB", "2MB", "32MB", "1GB", "16GB"))
hugetlbs = keyed(said(HugetlbLimit, sizes, HugetlbLimit.RANGES))
rdmas = keyed(said(RdmaLimit, names("/=,", 20), RdmaLimit.RANGES))
miscs = keyed(said(MiscLimit, names("/=,", 20), MiscLimit.RANGES))
priorities = keyed(
    st.builds(NetPrio, interface=names("/:", 15), priority=number(0, MAX_U32, False))
)
raw_files = st.sampled_from(
    ("memory.zswap.max", "io.max", "cpu.max", "cpu.uclamp.max", "hugetlb.2MB.weird")
)
raw_texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
raws = keyed(
    st.builds(Raw, file=raw_files, value=raw_texts | st.sampled_from(("max", "1G", "8:0 5")))
)

tasks = st.builds(Pids, max=st.none() | number(*Pids.RANGES["max"]))
classids = st.none() | number(0, MAX_U32, False)

resources = st.builds(
    Resources,
    cpu=cpus(),
    cpuset=cpusets,
    memory=memories,
    devices=st.none() | st.lists(rules, max_size=4).map(tuple),
    frozen=flags,
    io=ios,
    pids=tasks,
    net_cls_classid=classids,
    net_prio=priorities,
    hugetlb=hugetlbs,
    rdma=rdmas,
    misc=miscs,
    perf_event=flags,
    unified=raws,
)
