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


def _many(name: str, value: str, text: str) -> Flag:
    return Flag(name=name, value=value, help=text, many=True)


#: OUTER,INNER,COUNT is that of util-linux before 2.39, and still taken
_RANGE: Final = "INNER:OUTER:COUNT, auto or subids (as --map-...), or all"

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
                Flag(
                    name="map-auto", help="map one's ranges of /etc/subuid and /etc/subgid to 0..."
                ),
                Flag(name="map-subids", help="map them to themselves"),
                _many("map-users", "RANGE", f"map users; RANGE: {_RANGE}"),
                _many("map-groups", "RANGE", "map groups"),
                _one("owner", "UID:GID", "whom the user namespace belongs to"),
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
                Flag(
                    name="forward-signals",
                    help="pass SIGINT and SIGTERM on to the child (implies --fork)",
                ),
                Flag(
                    name="mount-binfmt",
                    value="DIR",
                    optional=True,
                    help="mount a new binfmt_misc (implies --user, --mount; needs Linux 6.7)",
                ),
                _one("load-interp", "LINE", "register an interpreter there", "l"),
                _one("propagation", "KIND", "slave, shared, private (default) or unchanged"),
                _one("setgroups", "WORD", "allow or deny setgroups(2) in the user namespace"),
                Flag(name="keep-caps", help="keep the capabilities of the user namespace"),
                _one("root", "DIR", "its root directory", "R"),
                _one("wd", "DIR", "its working directory", "w"),
                _one("setuid", "UID", "its user in the namespace", "S"),
                _one("setgid", "GID", "its group in the namespace", "G"),
                _one("monotonic", "SECONDS", "offset of the monotonic clock (needs --time)"),
                _one("boottime", "SECONDS", "offset of the boot clock (needs --time)"),
                Flag(name="clear-env", help="without the variables of the environment"),
                Flag(name="dry-run", help="print what would be done (not util-linux's)"),
                Flag(name="help", short="h", help="show this"),
            ),
        ),
    ),
    {
        "whitelist-env": "env -i NAME=VALUE... PROGRAM does the same",
        **dict.fromkeys(("version", "V"), "cgmgr --version tells cgmgr's"),
    },
)

USAGE: Final = """\
Usage: cgmgr unshare [OPTION]... [PROGRAM [ARGUMENT]...]

Run a program, by default $SHELL, in new namespaces.  The options are those of
unshare of util-linux 2.42."""


def command(words: list[str]) -> int:
    """Run `cgmgr unshare`.  Without --fork this process becomes the program."""
    from . import interruption, output

    given = GRAMMAR.parse(words)
    if given.on("help"):
        width = output.columns()
        print("\n".join([*output.prose(USAGE, width), *GRAMMAR.help(width)]))
        return 0
    from cgmgr.runtime import unshare

    asked = options(given)
    if given.on("dry-run"):
        unshare.demand(asked)
        print("\n".join(unshare.describe(asked)))
        return 0
    interruption.carefully()
    return unshare.run(asked)


def options(given: Given) -> UnshareOptions:
    """What the words ask for.  Raises `RequestError`."""
    from cgmgr.runtime.unshare import UnshareOptions

    users, groups = _maps(given)
    proc, binfmt = _places(given)
    implied = {
        "user": bool(users or groups or binfmt is not None or "owner" in given),
        "mount": proc is not None or binfmt is not None,
    }
    made = [name for flag, name in NAMESPACES.items() if flag in given or implied.get(name)]
    files = [(name, given.one(flag) or "") for flag, name in NAMESPACES.items() if given.one(flag)]
    texts = {"propagation": given.one("propagation") or "private"}
    return UnshareOptions(
        argv=tuple(given.rest),
        namespaces=tuple(made),
        files=tuple(files),
        fork=given.on("fork") or "kill-child" in given or given.on("forward-signals"),
        forward_signals=given.on("forward-signals"),
        kill_child=_kill_child(given),
        mount_proc=proc,
        mount_binfmt=binfmt,
        load_interp=given.one("load-interp"),
        users=users,
        groups=groups,
        owner=_owner(given),
        setgroups=given.one("setgroups"),
        root=given.one("root"),
        wd=given.one("wd"),
        setuid=_number(given, "setuid", 0, _MOST_ID),
        setgid=_number(given, "setgid", 0, _MOST_ID),
        keep_caps=given.on("keep-caps"),
        monotonic=_number(given, "monotonic", -(1 << 62), 1 << 62),
        boottime=_number(given, "boottime", -(1 << 62), 1 << 62),
        clear_env=given.on("clear-env"),
        **texts,
    )


def _places(given: Given) -> tuple[str | None, str | None]:
    """Where proc and binfmt_misc are mounted; without a place the latter lies in a new /proc."""
    proc, binfmt = given.one("mount-proc"), given.one("mount-binfmt")
    if binfmt is None and "load-interp" in given:
        binfmt = ""
    if binfmt == "":
        from cgmgr.runtime.unshare import BINFMT

        return proc or "/proc", BINFMT
    return proc, binfmt


def _kill_child(given: Given) -> int | None:
    from .settings import signal_number

    return signal_number(given.one("kill-child") or "KILL") if "kill-child" in given else None


def _number(given: Given, flag: str, least: int, most: int) -> int | None:
    from cgmgr.units import parse_int

    text = given.one(flag)
    return None if text is None else parse_int(text, f"--{flag}", least, most)


def _owner(given: Given) -> tuple[int, int] | None:
    text = given.one("owner")
    if text is None:
        return None
    ids = [int(part) for part in text.split(":") if part.isascii() and part.isdigit()]
    if text.count(":") != 1 or len(ids) != 2 or max(ids) > _MOST_ID:
        raise UsageError(f"--owner {text!r}: write UID:GID", value=text)
    return ids[0], ids[1]


def _maps(given: Given) -> tuple[tuple[IdRange, ...], tuple[IdRange, ...]]:
    """The id maps of users and of groups."""
    return _map(given, "user", os.geteuid()), _map(given, "group", os.getegid())


def _map(given: Given, kind: str, outer: int) -> tuple[IdRange, ...]:
    """The map of users or of groups: ranges, which make room for the caller's own id."""
    from cgmgr.runtime import idmaps

    words = given.all(f"map-{kind}s")
    words += [word for word in ("auto", "subids") if given.on(f"map-{word}")]
    ranges = tuple(one for word in words for one in _ranges(kind, word))
    inner = _own(given, f"map-{kind}", outer)
    if inner is None:
        return ranges
    return idmaps.beside(ranges, idmaps.IdRange(inner=inner, outer=outer))


def _own(given: Given, flag: str, outer: int) -> int | None:
    """What the caller's own id is inside: root's, itself, or as named."""
    text = given.one(flag)
    if text is not None:
        return _id_of(flag, text)
    if given.on("map-root-user"):
        return 0
    return outer if given.on("map-current-user") else None


def _id_of(flag: str, text: str) -> int:
    import grp
    import pwd

    if text.isascii() and text.isdigit() and int(text) <= _MOST_ID:
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid if flag == "map-user" else grp.getgrnam(text).gr_gid
    except KeyError:
        raise UsageError(f"--{flag} {text!r}: there is no such name", value=text) from None


def _ranges(kind: str, word: str) -> tuple[IdRange, ...]:
    """What one --map-users or --map-groups says."""
    from cgmgr.runtime import idmaps

    if word == "all":
        return idmaps.all_there_are(f"/proc/self/{kind[0]}id_map")
    if word in ("auto", "subids"):
        found = _subordinate(f"/etc/sub{kind[0]}id")
        return (found if word == "auto" else found.replace(inner=found.outer),)
    one = idmaps.parse_range(word)
    if one is None:
        raise UsageError(
            f"--map-{kind}s {word!r}: write INNER:OUTER:COUNT, auto, subids or all", value=word
        )
    return (one,)


def _subordinate(path: str) -> IdRange:
    """The caller's first range in subuid(5) or subgid(5)."""
    import pwd

    from cgmgr.runtime import idmaps

    uid = os.geteuid()
    names = [entry.pw_name for entry in pwd.getpwall() if entry.pw_uid == uid]
    names.append(str(uid))
    reason, number = f"it has no line for {names[0]}", None
    try:
        found = idmaps.subordinate(path, names)
    except OSError as error:
        found, reason, number = None, (error.strerror or "").lower(), error.errno
    if found is None:
        raise UsageError(
            f"map {path}: {reason}",
            path=path,
            errno=number,
            hint=f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {names[0]}",
        )
    return found
