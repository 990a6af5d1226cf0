"""What a new group or container may be called: one rule for both.

A name, or each part of a path of groups,

- has no white space and no control characters, which would not survive `/proc/PID/cgroup`, a shell
  or a table;
- does not begin with `-`, which is an option, nor with `.`, which is hidden;
- is none of the kernel's own files, which have the same directory: `tasks`, `release_agent`,
  `notify_on_release`, and whatever begins with `cgroup.` or with a controller's name and a dot
  (systemd escapes the same names, src/basic/cgroup-util.c, `cg_needs_escape`);
- has at most 255 bytes, and no `/`.

Containers are held to docker's alphabet besides, letters, digits, `_`, `.` and `-`, because their
names become host names and are typed to other tools (`cgmgr.runtime.spec.check_id`).

Law: pure, and about names that are to be made.  A group that somebody else made is found, shown
and removed whatever it is called, as long as its name leads nowhere else (`cgmgr.kernfs`).
"""

from __future__ import annotations

from cgmgr.errors import RequestError
from cgmgr.kernfs import check_path, wrong_with

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

FILES: Final = frozenset({"tasks", "release_agent", "notify_on_release"})
#: where hierarchies are mounted, or below it
USUAL: Final = "/sys/fs/cgroup"
#: what files of the kernel's begin with: controllers of v1 and v2, and the few besides
PREFIXES: Final = frozenset(
    {
        *("cgroup", "cpu", "cpuacct", "cpuset", "memory", "io", "blkio", "devices", "freezer"),
        *("pids", "net_cls", "net_prio", "hugetlb", "perf_event", "rdma", "misc", "dmem", "debug"),
        *("irq", "bpf"),
    }
)


def check_name(name: str, what: str = "group name") -> str:
    """One name, or `RequestError` with what is wrong with it."""
    reason = wrong_with(name) or _unfit(name)
    if reason:
        shown = name if len(name) <= 60 else name[:57] + "..."
        raise RequestError(
            f"invalid {what} {shown!r}: {reason}", operation=f"check {what}", value=name
        )
    return name


def check_new_path(path: str) -> str:
    """A group's path as "/a/b", every part a name that may be made."""
    checked = check_path(path)
    for part in checked.strip("/").split("/"):
        check_name(part)
    return checked


def check_no_path(group: str, mountpoints: Iterable[str]) -> None:
    """Refuse a path of the file system for a group: names begin at the root of a hierarchy, and one
    such as /sys/fs/cgroup/a would be a group in which all of that is made again.

    Raises `RequestError`; its hint is the group that was meant, None for the root.
    """
    below = f"{group}/"
    places = [p for p in (*mountpoints, USUAL) if below.startswith(f"{p}/") or p.startswith(below)]
    if places:
        place = max(places, key=len)
        raise RequestError(
            f"{group} is a path of the file system, and must be the name of a group: "
            f"groups are mounted at {place}",
            operation="name group",
            value=group,
            hint=group.removeprefix(place) if group.startswith(f"{place}/") else None,
        )


def _unfit(name: str) -> str:
    """What is wrong with a name that the kernel would take; "" where nothing is."""
    if any(c.isspace() or not c.isprintable() for c in name):
        return "it contains white space or a control character"
    if name[0] in "-.":
        return f"it begins with {name[0]}"
    if name in FILES:
        return "every group has a file of that name"
    first, dot, _ = name.partition(".")
    if dot and first in PREFIXES:
        return f"names that begin with {first}. are the kernel's files"
    return ""
