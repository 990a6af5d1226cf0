"""`cgmgr unshare`: a program in new namespaces, with the options of util-linux's unshare(1).

Law: words to `UnshareOptions`.  Its exit status is the program's; a failure before that is 1, as
there, 127 if there is no such program, 126 if it cannot be executed.
"""

from __future__ import annotations

import os

from .failing import UsageError
from .flags import Flag, Grammar, Section

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from cgmgr.runtime.unshare import IdRange, UnshareOptions

    from .flags import Given

_MOST_ID: Final = (1 << 32) - 2

#: option -> the namespace's name in the OCI specification
NAMESPACES: Final = {
    "mount": "mount",
    "uts": "uts",
    "ipc": "ipc",
    "net": "network",
    "pid": "pid",
    "user": "user",
    "cgroup": "cgroup",
    "time": "time",
}


def _namespace(name: str, short: str, text: str) -> Flag:
    return Flag(name=name, short=short, value="FILE", optional=True, help=text)


def _one(name: str, value: str, text: str, short: str = "") -> Flag:
    return Flag(name=name, value=value, help=text, short=short)


GRAMMAR: Final = Grammar(
    "cgmgr unshare",
    (
        Section(
            title="New namespaces, which FILE keeps (a bind mount)",
            flags=(
                _namespace("mount", "m", "mounts"),
                _namespace("uts", "u", "host name"),
                _namespace("ipc", "i", "System V IPC"),
                _namespace("net", "n", "network"),
                _namespace("pid", "p", "process ids, of children: see --fork"),
                _namespace("user", "U", "users"),
                _namespace("cgroup", "C", "groups"),
                _namespace("time", "T", "clocks, of children"),
            ),
        ),
        Section(
            title="Users; each implies --user",
            flags=(
                _one("map-user", "USER", "be this user inside"),
                _one("map-group", "GROUP", "be in this group inside"),
                Flag(name="map-root-user", short="r", help="be root inside"),
                Flag(name="map-current-user", short="c", help="be oneself inside"),
                Flag(name="map-auto", help="map the ranges of /etc/subuid and /etc/subgid"),
                _one("map-users", "OUTER,INNER,COUNT", "map a range of users"),
                _one("map-groups", "OUTER,INNER,COUNT", "map a range of groups"),
            ),
        ),
        Section(
            title="The program",
            flags=(
                Flag(name="fork", short="f", help="start the program as a child, and wait for it"),
                Flag(
                    name="kill-child",
                    value="SIGNAL",
                    optional=True,
                    help="signal the child when unshare dies (implies --fork; default KILL)",
                ),
                Flag(
                    name="mount-proc",
                    value="DIR",
                    optional=True,
                    help="mount a new /proc first (implies --mount)",
                ),
                _one("propagation", "KIND", "slave, shared, private (default) or unchanged"),
                _one("setgroups", "WORD", "allow or deny setgroups(2) in the user namespace"),
                Flag(name="keep-caps", help="keep the capabilities of the user namespace"),
                _one("root", "DIR", "its root directory", "R"),
                _one("wd", "DIR", "its working directory", "w"),
                _one("setuid", "UID", "its user in the namespace", "S"),
                _one("setgid", "GID", "its group in the namespace", "G"),
                _one("monotonic", "SECONDS", "offset of the monotonic clock (needs --time)"),
                _one("boottime", "SECONDS", "offset of the boot clock (needs --time)"),
                Flag(name="dry-run", help="print what would be done (not util-linux's)"),
                Flag(name="help", short="h", help="show this"),
            ),
        ),
    ),
)

USAGE: Final = """\
Usage: cgmgr unshare [OPTION]... [PROGRAM [ARGUMENT]...]

Run a program, by default $SHELL, in new namespaces.  The options are those of
util-linux's unshare."""


def command(words: list[str]) -> int:
    """Run `cgmgr unshare`.  Without --fork this process becomes the program."""
    from . import output

    given = GRAMMAR.parse(words)
    if given.on("help"):
        print("\n".join([USAGE, *GRAMMAR.help(output.columns())]))
        return 0
    from cgmgr.runtime import unshare

    asked = options(given)
    if given.on("dry-run"):
        print("\n".join(unshare.describe(asked)))
        return 0
    return unshare.run(asked)


def options(given: Given) -> UnshareOptions:
    """What the words ask for.  Raises `RequestError`."""
    from cgmgr.runtime.unshare import UnshareOptions

    users, groups = _maps(given)
    made = [name for flag, name in NAMESPACES.items() if flag in given]
    implied = [("user", bool(users or groups)), ("mount", "mount-proc" in given)]
    made += [name for name, needed in implied if needed and name not in made]
    files = [(name, given.one(flag) or "") for flag, name in NAMESPACES.items() if given.one(flag)]
    texts = {"propagation": given.one("propagation") or "private"}
    return UnshareOptions(
        argv=tuple(given.rest),
        namespaces=tuple(made),
        files=tuple(files),
        fork=given.on("fork") or "kill-child" in given,
        kill_child=_kill_child(given),
        mount_proc=given.one("mount-proc"),
        users=users,
        groups=groups,
        setgroups=given.one("setgroups"),
        root=given.one("root"),
        wd=given.one("wd"),
        setuid=_number(given, "setuid", 0, _MOST_ID),
        setgid=_number(given, "setgid", 0, _MOST_ID),
        keep_caps=given.on("keep-caps"),
        monotonic=_number(given, "monotonic", -(1 << 62), 1 << 62),
        boottime=_number(given, "boottime", -(1 << 62), 1 << 62),
        **texts,
    )


def _kill_child(given: Given) -> int | None:
    from .settings import signal_number

    return signal_number(given.one("kill-child") or "KILL") if "kill-child" in given else None


def _number(given: Given, flag: str, least: int, most: int) -> int | None:
    from cgmgr.units import parse_int

    text = given.one(flag)
    return None if text is None else parse_int(text, f"--{flag}", least, most)


def _maps(given: Given) -> tuple[tuple[IdRange, ...], tuple[IdRange, ...]]:
    """The id maps of users and of groups."""
    users = _own(given, "map-user", os.geteuid()) + _ranges(given, "map-users")
    groups = _own(given, "map-group", os.getegid()) + _ranges(given, "map-groups")
    if given.on("map-auto"):
        users += _subordinate("/etc/subuid", users)
        groups += _subordinate("/etc/subgid", groups)
    return users, groups


def _own(given: Given, flag: str, outer: int) -> tuple[IdRange, ...]:
    """The caller's own id as another one inside: as root, as itself, or as named."""
    from cgmgr.runtime.unshare import IdRange

    inner = None
    if given.on("map-current-user"):
        inner = outer
    if given.on("map-root-user"):
        inner = 0
    text = given.one(flag)
    if text is not None:
        inner = _id_of(flag, text)
    return () if inner is None else (IdRange(inner=inner, outer=outer),)


def _id_of(flag: str, text: str) -> int:
    import grp
    import pwd

    if text.isascii() and text.isdigit() and int(text) <= _MOST_ID:
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid if flag == "map-user" else grp.getgrnam(text).gr_gid
    except KeyError:
        raise UsageError(f"--{flag} {text!r}: there is no such name", value=text) from None


def _ranges(given: Given, flag: str) -> tuple[IdRange, ...]:
    from cgmgr.runtime.unshare import IdRange

    text = given.one(flag)
    if text is None:
        return ()
    parts = text.split(",")
    numbers = [int(part) for part in parts if part.isascii() and part.isdigit()]
    if len(parts) != 3 or len(numbers) != 3 or max(numbers) > _MOST_ID or not numbers[2]:
        raise UsageError(f"--{flag} {text!r}: write OUTER,INNER,COUNT", value=text)
    return (IdRange(outer=numbers[0], inner=numbers[1], count=numbers[2]),)


def _subordinate(path: str, taken: tuple[IdRange, ...]) -> tuple[IdRange, ...]:
    """The caller's range in subuid(5) or subgid(5), from 0 on inside, or after what is mapped."""
    import pwd

    from cgmgr.runtime.unshare import IdRange

    uid = os.geteuid()
    names = [entry.pw_name for entry in pwd.getpwall() if entry.pw_uid == uid]
    names.append(str(uid))
    with open(path, encoding="utf-8") as file:
        for line in file:
            name, _, numbers = line.strip().partition(":")
            start, _, count = numbers.partition(":")
            if name in names and start.isdigit() and count.isdigit() and int(count):
                first = max((one.inner + one.count for one in taken), default=0)
                return (IdRange(inner=first, outer=int(start), count=int(count)),)
    raise UsageError(
        f"--map-auto: {path} has no line for {names[0]}",
        path=path,
        hint=f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {names[0]}",
    )
