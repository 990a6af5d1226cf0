"""Names of groups as units of systemd, and the other way round.

Law: pure.  A group of this driver is named by its unit's place in the hierarchy, as systemd lays it
out: "/cgmgr.slice/cgmgr-x.scope".  What a user says is shorter and has one meaning:

    x                     /cgmgr.slice/cgmgr-x.scope
    a/x                   /cgmgr.slice/cgmgr-a.slice/cgmgr-a-x.scope
    /a/x                  /a.slice/a-x.scope
    b.slice, a-b.slice    /b.slice, /a.slice/a-b.slice: inner groups
    a-b.slice/x           /a.slice/a-b.slice/a-b-x.scope
    y.scope               /cgmgr.slice/y.scope
    a-b.slice:p:x         /a.slice/a-b.slice/p-x.scope (OCI's cgroupsPath, as runc has it)
    s.service             /system.slice/s.service, which somebody else made

Source: systemd.unit(5), systemd.slice(5), systemd-escape(1); src/basic/unit-name.c and
cgroup-util.c of systemd (unit_name_is_valid, slice_build_parent_slice, cg_escape).
"""

from __future__ import annotations

from cgmgr import kernfs
from cgmgr.errors import RequestError
from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

#: the slice of groups that are named without one
SLICE: Final = "cgmgr.slice"
ROOT: Final = "-.slice"
#: where services are
SYSTEM: Final = "system.slice"
SCOPE_KIND: Final = "scope"
SLICE_KIND: Final = "slice"
OTHER_KIND: Final = "other"
#: kinds of units that have a cgroup, and that only others make
_FOREIGN: Final = (".service", ".socket", ".mount", ".swap")
_SUFFIXES: Final = (".scope", ".slice", *_FOREIGN)
#: UNIT_NAME_MAX, without the final NUL
MOST_CHARS: Final = 255
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.")
#: first words of a cgroup's name that systemd puts a "_" before (cg_escape): a controller's
#: attributes would begin with them
_CONTROLLERS: Final = (
    "cgroup",
    "cpu",
    "cpuacct",
    "cpuset",
    "io",
    "blkio",
    "memory",
    "devices",
    "pids",
    "bpf-firewall",
    "bpf-devices",
    "bpf-foreign",
    "bpf-socket-bind",
    "bpf-restrict-network-interfaces",
)
_ATTRIBUTES: Final = ("notify_on_release", "release_agent", "tasks")


class Unit(Record):
    """A unit that has a cgroup: its full name, the slice that it is in, and what it is: `scope`
    and `slice` are of the kinds that we make."""

    name: str
    slice: str
    kind: str = SCOPE_KIND

    @property
    def path(self) -> str:
        """Where its cgroup is."""
        return kernfs.join(expand(self.slice), escape_cgroup(self.name))


def full_name(said: str) -> str:
    """The name of the group that a user means.  Raises `RequestError`."""
    if said.count(":") == 2 and not said.startswith("/"):
        return _of_oci(said)
    *inner, last = _parts(said)
    first = inner[0] if inner else last
    above = SYSTEM if last.endswith(_FOREIGN) else SLICE
    if said.startswith("/") or first.endswith(".slice"):
        above = ROOT
    for part in inner:
        above = _slice_within(above, part, said)
    return _unit_within(above, last, said).path


def unit_of(group: str) -> Unit:
    """The unit whose cgroup a group is.  Raises `RequestError` where it is none's."""
    parts = [_plain(part) for part in group.strip("/").split("/")]
    above = parts[-2] if len(parts) > 1 else ROOT
    unit = Unit(name=parts[-1], slice=above, kind=_kind(parts[-1]))
    if unit.path != group or not unit.name.endswith(_SUFFIXES):
        raise _refused(group, "no unit of systemd has its group there")
    return unit


def shown(group: str) -> str:
    """The shortest name that means the group."""
    name = group.rsplit("/", 1)[-1].removesuffix(".scope").removeprefix("cgmgr-")
    for short in (name, group.rsplit("/", 1)[-1]):
        try:
            if full_name(short) == group:
                return short
        except RequestError:
            continue
    return group


def expand(slice_: str) -> str:
    """Where a slice's cgroup is: "a-b.slice" is "/a.slice/a-b.slice", "-.slice" is "/"."""
    stem = slice_.removesuffix(".slice")
    if slice_ == ROOT:
        return "/"
    words = stem.split("-")
    if stem == slice_ or not all(words):
        raise _refused(slice_, "write a slice's name such as a.slice, or a-b.slice within it")
    names = ("-".join(words[: n + 1]) + ".slice" for n in range(len(words)))
    return "/" + "/".join(escape_cgroup(name) for name in names)


def escape(text: str, keep: str = "") -> str:
    """A part of a unit's name: what may not be in one is \\xNN (systemd-escape(1))."""
    return "".join(
        chr(byte) if chr(byte) in _PLAIN or chr(byte) in keep else f"\\x{byte:02x}"
        for byte in text.encode(errors="surrogateescape")
    )


def escape_cgroup(name: str) -> str:
    """A unit's name as that of its cgroup."""
    first = name.partition(".")[0]
    clash = name in _ATTRIBUTES or name[:1] in ("_", ".") or first in _CONTROLLERS
    return f"_{name}" if clash else name


def _parts(said: str) -> list[str]:
    parts = said.strip("/").split("/")
    if parts == [""]:
        raise _refused(said, "the root is not a group of ours")
    for part in parts:
        if part in ("", ".", "..") or not part.isprintable():
            raise _refused(said, f"{part!r} is no name")
    # a full name has its units' names as their groups are called
    return [_plain(part) for part in parts] if said.startswith("/") else parts


def _plain(part: str) -> str:
    """The name of the unit whose cgroup is called so (cg_unescape)."""
    return part.removeprefix("_") if part.endswith(_SUFFIXES) else part


def _of_oci(said: str) -> str:
    above, prefix, name = said.split(":")
    if not name:
        raise _refused(said, "write SLICE:PREFIX:NAME, such as system.slice:cgmgr:x")
    above = above or SLICE
    expand(above)
    if not name.endswith(".slice") and prefix:
        name = f"{prefix}-{name}"
    if name.endswith(".slice"):
        return Unit(name=_checked(name, said), slice=parent_slice(name), kind=SLICE_KIND).path
    return Unit(name=_checked(f"{escape(name, '-')}.scope", said), slice=above).path


def _slice_within(above: str, part: str, said: str) -> str:
    """The slice that a part of a path is, in the one above it."""
    if not part.endswith(".slice"):
        stem = escape(part)
        name = f"{stem}.slice" if above == ROOT else f"{above.removesuffix('.slice')}-{stem}.slice"
        return _checked(name, said)
    if above not in (ROOT, parent_slice(part)):
        raise _refused(said, f"{part} is in {parent_slice(part)}, not in {above}")
    return _checked(part, said)


def _unit_within(above: str, last: str, said: str) -> Unit:
    """The unit that the last part of a path is."""
    kind = _kind(last)
    if kind == SLICE_KIND:
        if above not in (ROOT, parent_slice(last)):
            raise _refused(said, f"{last} is in {parent_slice(last)}, not in {above}")
        return Unit(name=_checked(last, said), slice=parent_slice(last), kind=kind)
    if last.endswith((".scope", *_FOREIGN)):
        return Unit(name=_checked(last, said), slice=above, kind=kind)
    stem = escape(last, "-")
    prefix = "" if above == ROOT else above.removesuffix(".slice") + "-"
    return Unit(name=_checked(f"{prefix}{stem}.scope", said), slice=above)


def parent_slice(name: str) -> str:
    """The slice that a slice is in."""
    stem = name.removesuffix(".slice")
    expand(name)
    return f"{stem.rpartition('-')[0]}.slice" if "-" in stem else ROOT


def _kind(name: str) -> str:
    if name.endswith(".slice"):
        return SLICE_KIND
    return OTHER_KIND if name.endswith(_FOREIGN) else SCOPE_KIND


def _checked(name: str, said: str) -> str:
    if len(name) > MOST_CHARS:
        raise _refused(said, f"its unit's name would have {len(name)} characters, at most 255 may")
    kernfs.check_path(f"/{escape_cgroup(name)}")
    if name.startswith(".") or name.startswith("-"):
        raise _refused(said, f"no unit can be called {name}")
    return name


def _refused(said: str, why: str) -> RequestError:
    return RequestError(f"invalid group name {said!r}: {why}", operation="name group", value=said)
