"""Parsers of what the kernel prints: text in, plain values out.

Law: no file is opened here.  What a kernel does not print is absent or None, what this code does
not know is ignored; a line that cannot be read is skipped where kernels and vendors differ, and
`ValueError` elsewhere.
"""

from __future__ import annotations

from cgmgr.record import Record
from cgmgr.units import MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from cgmgr.units import Max

#: v1 prints PAGE_COUNTER_MAX pages where there is no limit (include/linux/page_counter.h): 2^63
#: less a page, or less a huge page of whatever size
UNLIMITED_V1: Final = (1 << 63) - (1 << 40)


class Mount(Record):
    """One line of /proc/PID/mountinfo (proc_pid_mountinfo(5)), paths unescaped."""

    root: str
    mountpoint: str
    device: str
    options: tuple[str, ...]
    fstype: str
    source: str
    super_options: tuple[str, ...]


class Membership(Record):
    """One line of /proc/PID/cgroup (cgroups(7)); `controllers` is empty for cgroup2."""

    hierarchy_id: int
    controllers: tuple[str, ...]
    path: str
    deleted: bool = False


def unescape(text: str) -> str:
    """Undo the octal escapes of mountinfo (space, tab, newline, backslash)."""
    if "\\" not in text:
        return text
    head, *rest = text.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def mountinfo(text: str) -> list[Mount]:
    """/proc/self/mountinfo; the number of optional fields varies, " - " ends them."""
    mounts: list[Mount] = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields, tail = before.split(" "), after.split(" ")
        if not dash or len(fields) < 6 or len(tail) < 3:
            continue
        mounts.append(
            Mount(
                root=unescape(fields[3]),
                mountpoint=unescape(fields[4]),
                device=fields[2],
                options=tuple(fields[5].split(",")),
                fstype=tail[0],
                source=unescape(tail[1]),
                super_options=tuple(tail[2].split(",")),
            )
        )
    return mounts


def proc_cgroup(text: str) -> list[Membership]:
    """/proc/self/cgroup.  A path may hold colons; a removed group's ends in " (deleted)"."""
    memberships: list[Membership] = []
    for line in text.splitlines():
        number, colon, rest = line.partition(":")
        names, colon, path = rest.partition(":")
        if not colon:
            continue
        memberships.append(
            Membership(
                hierarchy_id=int(number),
                controllers=tuple(names.split(",")) if names else (),
                path=path.removesuffix(" (deleted)"),
                deleted=path.endswith(" (deleted)"),
            )
        )
    return memberships


def limit(text: str) -> int | Max:
    """One number, or MAX for "max" and for what v1 prints instead (and a new hugetlb group on
    v2)."""
    text = text.strip()
    if text == "max":
        return MAX
    value = int(text)
    return MAX if value >= UNLIMITED_V1 else value


def flat_keyed(text: str) -> dict[str, int]:
    """Lines of "KEY NUMBER" (cgroup-v2.rst, "flat keyed"); any other line is skipped."""
    words = text.split()
    if len(words) == 2 * text.count("\n"):
        try:
            return dict(zip(words[::2], map(int, words[1::2]), strict=True))
        except ValueError:
            pass
    values: dict[str, int] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        try:
            values[key] = int(value)
        except ValueError:
            continue
    return values


def nested_keyed(text: str) -> dict[str, dict[str, int | Max]]:
    """Lines of "KEY SUB=NUMBER SUB=max ..." (cgroup-v2.rst, "nested keyed").

    A line without pairs is an empty entry (io.stat has them); what is no whole number is skipped
    (cost.vrate is a decimal).
    """
    values: dict[str, dict[str, int | Max]] = {}
    for line in text.splitlines():
        key, *pairs = line.split() or ("",)
        entry: dict[str, int | Max] = {}
        for pair in pairs:
            name, _, value = pair.partition("=")
            if value.isdecimal():
                entry[name] = int(value)
            elif value == "max":
                entry[name] = MAX
        if key:
            values[key] = entry
    return values


def keyed_limits(text: str) -> dict[str, int | Max]:
    """Lines of "KEY NUMBER" or "KEY max", such as misc.max; any other line is skipped."""
    values: dict[str, int | Max] = {}
    for line in text.splitlines():
        key, _, value = line.rpartition(" ")
        if value == "max":
            values[key] = MAX
        elif value.isdecimal() and key:
            values[key] = int(value)
    return values


def numbers(text: str) -> tuple[int, ...]:
    """Numbers in a row, such as cpuacct.usage_percpu."""
    return tuple(map(int, text.split()))


def usage_all(text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """cpuacct.usage_all: nanoseconds in user and in system mode, by CPU.

    The header begins with "cpu user system"; patched kernels add columns behind (runc's
    cgroups#46), which are not read.
    """
    header, *lines = text.splitlines() or [""]
    if header.split()[:3] != ["cpu", "user", "system"]:
        raise ValueError(f"unknown columns {header!r}")
    rows = [line.split(None, 3) for line in lines]
    return tuple(int(row[1]) for row in rows), tuple(int(row[2]) for row in rows)


def cpu_max(text: str) -> tuple[int | Max, int]:
    """cpu.max: quota and period in microseconds."""
    quota, period = text.split()
    return limit(quota), int(period)


def numa_stat(text: str, unit: int = 1) -> dict[str, dict[int, int]]:
    """memory.numa_stat: how many units are where, by node.

    v1 has "KEY=TOTAL N0=PAGES", v2 "KEY N0=BYTES"; some vendors print lines of another form, which
    are skipped.
    """
    values: dict[str, dict[int, int]] = {}
    for line in text.splitlines():
        head, *pairs = line.split() or ("",)
        try:
            nodes = {int(n[1:]): int(v) * unit for n, _, v in [p.partition("=") for p in pairs]}
        except ValueError:
            continue
        if nodes:
            values[head.partition("=")[0]] = nodes
    return values


def pressure(text: str) -> dict[str, tuple[float, float, float, int]]:
    """PSI: by "some" and "full" the averages over 10, 60 and 300 s in percent, and the total in
    microseconds (Documentation/accounting/psi.rst)."""
    values: dict[str, tuple[float, float, float, int]] = {}
    for line in text.splitlines():
        kind, avg10, avg60, avg300, total, *_ = line.split()
        # behind "avg10=", "avg60=", "avg300=" and "total="
        values[kind] = (float(avg10[6:]), float(avg60[6:]), float(avg300[7:]), int(total[6:]))
    return values


def blkio(text: str) -> dict[str, dict[str, int]]:
    """A blkio statistic: "MAJOR:MINOR OPERATION NUMBER" by device and operation.

    The lines of sums ("Total 0") are skipped, as is what else names no device.
    """
    values: dict[str, dict[str, int]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and ":" in words[0] and words[2].isdecimal():
            values.setdefault(words[0], {})[words[1]] = int(words[2])
    return values
