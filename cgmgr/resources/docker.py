"""docker's resource flags, with its grammar and its meaning, and ours beside them.

Law: a flag is named as a Python word (`--memory-swap` is `memory_swap`) and a value is the text
that was typed.  docker's rules hold: 0 and empty are "not given", --memory-swap is memory and swap
together, the least memory is 6 MiB.  The flags that docker has not (`OURS`) are read by `words`.

Source: docker/cli opts/*.go; the limits are moby's, daemon/daemon_unix.go.
"""

from __future__ import annotations

from cgmgr.errors import RequestError
from cgmgr.units import (
    MAX,
    MAX_U64,
    MIB,
    Max,
    format_id_list,
    parse_bytes,
    parse_cpus_usec,
    parse_id_list,
    parse_int,
    refuse,
)

from . import formulas
from .devices import DEFAULT_RULES, block_number, parse_rule
from .flags import OURS, dashed, in_flags
from .forms import spell_bytes
from .merge import missing
from .model import Cpu, Cpuset, Io, IoDevice, Memory, Pids, Resources
from .words import in_words, resources_of, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, Final

    from .devices import Resolve

    Value = str | int | float | bool | Sequence[str] | None

#: daemon_unix.go linuxMinMemory
LEAST_MEMORY: Final = 6 * MIB
_MOST: Final = MAX_U64 >> 1

#: flag -> field of `IoDevice`; a value is PATH:RATE
THROTTLES: Final = {
    "device_read_bps": "rbps",
    "device_write_bps": "wbps",
    "device_read_iops": "riops",
    "device_write_iops": "wiops",
}
#: flags that may be given several times
LISTS: Final = (
    *THROTTLES,
    "blkio_weight_device",
    "device_cgroup_rule",
    "cgroup_conf",
    "net_prio",
    "hugetlb",
    "rdma",
    "misc",
)
FLAGS: Final = (
    *("memory", "memory_swap", "swap", "memory_reservation", "memory_swappiness"),
    *("oom_kill_disable", "kernel_memory"),
    *("cpus", "cpu_shares", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime"),
    *("cpuset_cpus", "cpuset_mems", "pids_limit", "blkio_weight", "net_classid"),
    *LISTS,
)


def from_docker(*, resolve: Resolve | None = None, fresh: bool = True, **flags: Value) -> Resources:
    """Resources from flags; None, 0, "" and () are flags not given.

    `resolve` finds the disks of --device-read-bps and its like.  With `fresh`, for a new container,
    docker's default holds: swap is limited to as much as memory; without, for an update, what is
    not said is left alone.  --device-cgroup-rule adds to what every container may use.  Raises
    `RequestError` that names the flag.
    """
    given = _Given(flags)
    try:
        resources = _resources(given, resolve, fresh)
    except RequestError as error:
        raise in_flags(in_words(error), given.values) from None
    for flag, word in OURS.items():
        resources = given.say(resources, flag, word)
    return resources


def _resources(given: _Given, resolve: Resolve | None, fresh: bool) -> Resources:
    return Resources(
        cpu=_cpu(given),
        cpuset=Cpuset(cpus=given.ids("cpuset_cpus"), mems=given.ids("cpuset_mems")),
        memory=_memory(given, fresh),
        devices=_rules(given),
        io=_io(given, resolve),
        pids=Pids(max=given.limit("pids_limit", Pids, "max")),
    )


def to_docker(resources: Resources) -> dict[str, str | list[str]]:
    """The flags that say this, as `from_docker` takes them; see `unexpressed` for what has none.

    Without docker's default for swap: `from_docker(**to_docker(r), fresh=False)`.
    """
    single = {**_cpu_flags(resources), **_memory_flags(resources.memory), **_other(resources)}
    return {flag: value for flag, value in single.items() if value} | _lists(resources)


def to_arguments(resources: Resources) -> list[str]:
    """The same as a command line has them: ["--memory=64M", ...]."""
    return [
        f"{dashed(flag)}={value}"
        for flag, said in to_docker(resources).items()
        for value in ([said] if isinstance(said, str) else said)
    ]


def unexpressed(resources: Resources) -> tuple[str, ...]:
    """The settings for which there is no flag, or none for this value."""
    flags: dict[str, Any] = dict(to_docker(resources))
    return missing(resources, from_docker(fresh=False, **flags))


class _Given:
    """The flags that were given, read by kind; complaints name the flag as it is typed."""

    def __init__(self, flags: Mapping[str, Value]) -> None:
        for flag in flags:
            if flag not in FLAGS:
                raise RequestError(
                    f"unknown flag {dashed(flag)}", operation="read flags", value=flag
                )
        self.values: dict[str, Any] = {
            flag: value
            for flag, value in flags.items()
            if value is not None and value is not False and value not in ("", [], ())
        }

    def many(self, flag: str) -> list[str]:
        value = self.values.get(flag, ())
        return [value] if isinstance(value, str) else [str(text) for text in value]

    def whole(self, flag: str, least: int, most: int, unset: int = 0) -> int | None:
        """A number, or None for `unset`."""
        text = str(self.values.get(flag, unset))
        if text == str(unset) or (unset == 0 and text and not text.strip("0")):
            return None
        return parse_int(text, dashed(flag), least, most)

    def number(self, flag: str, kind: type[Any], field: str) -> int | None:
        """A number that the model takes, or None for 0."""
        least, most, _ = kind.RANGES[field]
        return self.whole(flag, least or 1, most)

    def limit(self, flag: str, kind: type[Any], field: str) -> int | Max | None:
        """The same, or MAX for -1."""
        return MAX if str(self.values.get(flag)) == "-1" else self.number(flag, kind, field)

    def size(self, flag: str, least: int = 1) -> int | None:
        """A size in docker's grammar."""
        if flag not in self.values:
            return None
        size = parse_bytes(str(self.values[flag]), dashed(flag))
        if 0 < size < least:
            raise refuse(dashed(flag), self.values[flag], f"the least is {spell_bytes(least)}")
        return size or None

    def ids(self, flag: str) -> tuple[int, ...] | None:
        return parse_id_list(str(self.values.get(flag, "")), dashed(flag)) or None

    def say(self, resources: Resources, flag: str, word: str) -> Resources:
        """What a flag of ours says, on top of what the others did."""
        if flag not in self.values:
            return resources
        said = self.many(flag) if flag in LISTS else self.values[flag]
        try:
            return resources_of(resources, **{word: said})
        except RequestError as error:
            before = error.message
            if in_flags(error, (flag,)).message == before:
                error.message = f"{dashed(flag)}: {before}"
            raise

    def has(self, flag: str) -> bool:
        """Whether a number is given, and not 0."""
        return bool(str(self.values.get(flag, "")).strip("0."))

    def refuse_beside(self, one: str, *others: str) -> None:
        for other in others:
            if self.has(other):
                raise RequestError(
                    f"{dashed(one)} and {dashed(other)} exclude each other",
                    operation="read flags",
                    value=str(self.values[other]),
                )


def _cpu(given: _Given) -> Cpu:
    quota = given.limit("cpu_quota", Cpu, "quota_us")
    period = given.number("cpu_period", Cpu, "period_us")
    if given.has("cpus"):
        given.refuse_beside("cpus", "cpu_period", "cpu_quota")
        cpus, period = str(given.values["cpus"]), formulas.DEFAULT_PERIOD_US
        quota = parse_cpus_usec(cpus, period, "--cpus")
        if quota < 1_000:
            raise refuse("--cpus", cpus, "the least is 0.01")
    shares = given.number("cpu_shares", Cpu, "shares")
    return Cpu(
        quota_us=quota,
        period_us=period,
        shares=shares,
        weight=formulas.shares_to_weight(shares) if shares else None,
        rt_runtime_us=given.limit("cpu_rt_runtime", Cpu, "rt_runtime_us"),
        rt_period_us=given.number("cpu_rt_period", Cpu, "rt_period_us"),
    )


def _memory(given: _Given, fresh: bool) -> Memory:
    if given.size("kernel_memory"):
        raise RequestError(
            "--kernel-memory is refused: the kernel's limit is gone since Linux 5.16",
            operation="read flags",
            value=str(given.values["kernel_memory"]),
        )
    if "swap" in given.values:
        given.refuse_beside("swap", "memory_swap")
    memory = given.size("memory", LEAST_MEMORY)
    reservation = given.size("memory_reservation", LEAST_MEMORY)
    if memory and reservation and reservation > memory:
        raise refuse("--memory-reservation", given.values["memory_reservation"], "over --memory")
    swap = _swap(given, memory)
    if swap is None and memory and fresh and "swap" not in given.values:
        swap = memory
    return Memory(
        max_bytes=memory,
        swap_bytes=swap,
        soft_limit_bytes=reservation,
        swappiness=given.whole("memory_swappiness", 0, 100, unset=-1),
        oom_kill_disable=True if "oom_kill_disable" in given.values else None,
    )


def _swap(given: _Given, memory: int | None) -> int | Max | None:
    """Swap alone, from --memory-swap, which is memory and swap together, or -1."""
    text = str(given.values.get("memory_swap", ""))
    if text == "-1":
        return MAX
    together = given.size("memory_swap")
    if together is None:
        return None
    if memory is None:
        raise refuse("--memory-swap", text, "it is memory and swap together, so give --memory too")
    if together < memory:
        raise refuse(
            "--memory-swap", text, "it is memory and swap together, and less than --memory"
        )
    return formulas.memory_swap_to_swap(memory, together)


def _rules(given: _Given) -> Any:
    rules = given.many("device_cgroup_rule")
    extra = tuple(parse_rule(rule, "--device-cgroup-rule") for rule in rules)
    return DEFAULT_RULES + extra if extra else None


def _io(given: _Given, resolve: Resolve | None) -> Io:
    weight = given.whole("blkio_weight", formulas.BFQ_LEAST, formulas.BFQ_MOST)
    disks: dict[str, dict[str, int]] = {}
    for flag, field in (("blkio_weight_device", "weight"), *THROTTLES.items()):
        for path, text in _pairs(given, flag):
            number = _rate(flag, text)
            if number:
                disk = disks.setdefault(block_number(path, dashed(flag), resolve), {})
                if disk.setdefault(field, number) != number:
                    raise refuse(dashed(flag), path, "that disk is named twice")
    return Io(
        weight=formulas.bfq_to_io_weight(weight) if weight else None,
        devices=tuple(IoDevice(device=name, **fields) for name, fields in disks.items()),
    )


def _pairs(given: _Given, flag: str) -> Iterator[tuple[str, str]]:
    """PATH and what follows its last colon: below /dev/disk/by-path, paths have colons too."""
    for text in given.many(flag):
        path, colon, number = text.rpartition(":")
        if not colon or not path.startswith("/dev/"):
            raise refuse(dashed(flag), text, "write /dev/NAME:NUMBER")
        yield path, number


def _rate(flag: str, text: str) -> int:
    if flag == "blkio_weight_device":
        if text == "0":
            return 0
        bfq = parse_int(text, dashed(flag), formulas.BFQ_LEAST, formulas.BFQ_MOST)
        return formulas.bfq_to_io_weight(bfq)
    if flag.endswith("bps"):
        return parse_bytes(text, dashed(flag))
    return parse_int(text, dashed(flag), 0, _MOST)


def _number(value: int | Max | None) -> str:
    """A number as a flag has it, -1 for no limit, "" for nothing."""
    return "-1" if isinstance(value, Max) else str(value or "")


def _cpu_flags(resources: Resources) -> dict[str, str]:
    cpu, cpuset = resources.cpu, resources.cpuset
    shares = cpu.shares or (formulas.weight_to_shares(cpu.weight) if cpu.weight else None)
    return {
        "cpu_shares": _number(shares),
        "cpu_quota": _number(cpu.quota_us),
        "cpu_period": _number(cpu.period_us),
        "cpu_rt_runtime": _number(cpu.rt_runtime_us),
        "cpu_rt_period": _number(cpu.rt_period_us),
        "cpuset_cpus": format_id_list(cpuset.cpus or ()),
        "cpuset_mems": format_id_list(cpuset.mems or ()),
    }


def _memory_flags(memory: Memory) -> dict[str, str]:
    most = _size(memory.max_bytes)
    soft = _size(memory.soft_limit_bytes, most)
    together = formulas.swap_to_memory_swap(most, memory.swap_bytes)
    alone = memory.swap_bytes if together is None else None
    swappiness = memory.swappiness
    return {
        "memory": spell_bytes(most) if most else "",
        "memory_swap": _number(together),
        "swap": spell_bytes(alone) if alone is not None else "",
        "memory_reservation": spell_bytes(soft) if soft else "",
        "memory_swappiness": str(swappiness) if swappiness in range(101) else "",
        "oom_kill_disable": "true" if memory.oom_kill_disable else "",
    }


def _size(size: int | Max | None, most: int | None = None) -> int | None:
    """A size that docker takes, None for others."""
    if isinstance(size, int) and LEAST_MEMORY <= size <= (most or _MOST):
        return size
    return None


def _other(resources: Resources) -> dict[str, str]:
    return {
        "pids_limit": _number(resources.pids.max),
        "blkio_weight": _bfq(resources.io.weight),
        "net_classid": words_of(resources).get("net_classid", ""),
    }


def _bfq(weight: int | None) -> str:
    """docker's weight, where its scale has one for exactly this."""
    bfq = formulas.io_weight_to_bfq(weight) if weight else 0
    return str(bfq) if bfq >= 10 and formulas.bfq_to_io_weight(bfq) == weight else ""


def _lists(resources: Resources) -> dict[str, str | list[str]]:
    lists: dict[str, list[str]] = {flag: [] for flag in LISTS}
    for disk in resources.io.devices:
        path = f"/dev/block/{disk.device}"
        if _bfq(disk.weight):
            lists["blkio_weight_device"].append(f"{path}:{_bfq(disk.weight)}")
        for flag, field in THROTTLES.items():
            rate = getattr(disk, field)
            if isinstance(rate, int):
                lists[flag].append(f"{path}:{rate}")
    lists["device_cgroup_rule"] = _extra_rules(resources)
    lists["cgroup_conf"] = [f"{raw.file}={raw.value}" for raw in resources.unified if raw.value]
    words = words_of(resources)
    for flag in ("net_prio", "hugetlb", "rdma", "misc"):
        lists[flag] = words.get(flag, "").split()
    return {flag: values for flag, values in lists.items() if values}


def _extra_rules(resources: Resources) -> list[str]:
    """The rules beyond what every container may use, if that is all that the filter is."""
    rules = resources.devices or ()
    known, extra = rules[: len(DEFAULT_RULES)], rules[len(DEFAULT_RULES) :]
    if known != DEFAULT_RULES or not all(rule.allow for rule in extra):
        return []
    return [str(rule) for rule in extra]
