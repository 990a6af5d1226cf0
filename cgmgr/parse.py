"""Parsers of what the kernel prints: text in, plain values out.

Law: no file is opened here.  What a kernel does not print is absent or None, what this code does not
know is ignored; a line that cannot be read is skipped where kernels and vendors differ, and
`ValueError` elsewhere.
"""

from __future__ import annotations

from cgmgr.record import Record
from cgmgr.units import MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.units import Max


class Mount(Record):
    """One line of /proc/PID/mountinfo (proc_pid_mountinfo(5)), paths unescaped."""

    root: str
    mountpoint: str
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
    """One number, or MAX for "max"."""
    text = text.strip()
    return MAX if text == "max" else int(text)


def flat_keyed(text: str) -> dict[str, int]:
    """Lines of "KEY VALUE" (cgroup-v2.rst, "flat keyed"); a vendor's line without a number is skipped."""
    values: dict[str, int] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        try:
            values[key] = int(value)
        except ValueError:
            continue
    return values
