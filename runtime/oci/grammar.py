"""runc's command line: which commands and options there are, and the words of one invocation.

Law: words in, values out; nothing is looked at and nothing is done.  As runc's parser does, options
come before the arguments they belong to, one dash is as good as two, and a value may follow as a
word of its own or after "=".  Options that ask for nothing here are accepted for the clients that
send them, and named in IGNORED with the reason.

Source: runc(8) and the pages of its commands, version 1.2; the words that podman, containerd,
CRI-O and docker send.
"""

from __future__ import annotations

from cgmgr.errors import RequestError
from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final

    Value = bool | str | list[str]

#: how an option takes its value: a switch, the last one said, each one said
SWITCH: Final = "switch"
TEXT: Final = "text"
LIST: Final = "list"


class Option(Record):
    """One option; `names` without dashes, the long one first."""

    names: tuple[str, ...]
    kind: str = TEXT
    shows: str = ""
    about: str = ""


class Command(Record):
    """One command; `least` and `most` count its arguments, -1 is any number."""

    about: str
    shows: str = "ID"
    least: int = 1
    most: int = 1
    options: tuple[Option, ...] = ()


class Invocation(Record):
    """A command line, read.  An option that was not said is missing from its mapping."""

    command: str
    args: tuple[str, ...]
    shared: Mapping[str, Value]
    options: Mapping[str, Value]

    def said(self, name: str) -> bool:
        return bool(self.options.get(name) or self.shared.get(name))

    def text(self, name: str, usual: str = "") -> str:
        value = self.options.get(name, self.shared.get(name, usual))
        return value if isinstance(value, str) else usual

    def texts(self, name: str) -> list[str]:
        value = self.options.get(name, [])
        return value if isinstance(value, list) else []

    def number(self, name: str, usual: int) -> int:
        text = self.text(name)
        if not text:
            return usual
        if not text.removeprefix("-").isdigit():
            raise usage(f"invalid value {text!r} for --{name}: it takes a number")
        return int(text)


def _options(*rows: tuple[str, str, str, str]) -> tuple[Option, ...]:
    return tuple(
        Option(names=tuple(names.split()), kind=kind, shows=shows, about=about)
        for names, kind, shows, about in rows
    )


SHARED: Final = _options(
    ("root", TEXT, "DIR", "where the state of containers is kept"),
    ("log", TEXT, "FILE", "write messages there too"),
    ("log-format", TEXT, "text|json", "of that file"),
    ("systemd-cgroup", SWITCH, "", "cgroupsPath is SLICE:PREFIX:NAME, and systemd makes the group"),
    ("rootless", TEXT, "false|auto", "not supported yet, so only what asks for nothing"),
    ("debug", SWITCH, "", "say each step"),
    ("criu", TEXT, "PATH", ""),
    ("help h", SWITCH, "", "this text"),
    ("version v", SWITCH, "", "the version"),
)
_BUNDLE: Final = ("bundle b", TEXT, "DIR", "where config.json is; here by default")
_STARTING: Final = (
    ("console-socket", TEXT, "SOCKET", "send the master of the terminal there"),
    ("pid-file", TEXT, "FILE", "write the process id there"),
    ("pidfd-socket", TEXT, "SOCKET", "send a pidfd of the process there"),
    ("preserve-fds", TEXT, "N", "hand on descriptors 3 to 3+N-1 too"),
)
_MAKING: Final = (
    _BUNDLE,
    *_STARTING,
    ("no-pivot", SWITCH, "", ""),
    ("no-new-keyring", SWITCH, "", "share the caller's session keyring"),
)
_FORMAT: Final = ("format f", TEXT, "table|json", "how to show it")
_LIMITS: Final = (
    ("blkio-weight", "weight of block io, 10 to 1000"),
    ("cpu-burst", "burst, in microseconds"),
    ("cpu-idle", "1: run only when nobody else wants to"),
    ("cpu-period", "period of the quota, in microseconds"),
    ("cpu-quota", "CPU time in each period, in microseconds"),
    ("cpu-rt-period", "period of realtime, in microseconds"),
    ("cpu-rt-runtime", "realtime in each period, in microseconds"),
    ("cpu-share", "shares of a contended CPU"),
    ("cpuset-cpus", "CPUs to run on"),
    ("cpuset-mems", "memory nodes to use"),
    ("memory", "most memory"),
    ("memory-reservation", "memory below which nothing is reclaimed first"),
    ("memory-swap", "most memory and swap together, -1 for any"),
    ("pids-limit", "most tasks"),
)

COMMANDS: Final = {
    "create": Command(about="make a container, all but its program", options=_options(*_MAKING)),
    "start": Command(about="run the program of a container that was created"),
    "run": Command(
        about="make a container and run its program",
        options=_options(
            *_MAKING,
            ("detach d", SWITCH, "", "do not wait for it"),
            ("keep", SWITCH, "", "do not delete it when it has ended"),
            ("no-subreaper", SWITCH, "", ""),
        ),
    ),
    "state": Command(about="show what a container is, as JSON"),
    "kill": Command(
        about="send a signal to a container, SIGTERM by default",
        shows="ID [SIGNAL]",
        most=2,
        options=_options(("all a", SWITCH, "", "to every process in it")),
    ),
    "delete": Command(
        about="take away what is left of a container",
        options=_options(("force f", SWITCH, "", "kill it first; no error if there is none")),
    ),
    "exec": Command(
        about="run a program in a container",
        shows="ID COMMAND [ARG...]",
        most=-1,
        options=_options(
            *_STARTING,
            ("process p", TEXT, "FILE", "a process of the specification, as JSON"),
            ("detach d", SWITCH, "", "do not wait for it"),
            ("tty t", SWITCH, "", "give it a terminal"),
            ("cwd", TEXT, "DIR", "its working directory"),
            ("env e", LIST, "NAME=VALUE", "a variable of its environment"),
            ("user u", TEXT, "UID[:GID]", "who it runs as"),
            ("additional-gids g", LIST, "GID", "a further group"),
            ("cap c", LIST, "CAP", "a further capability"),
            ("no-new-privs", SWITCH, "", "it cannot gain rights"),
            ("process-label", TEXT, "LABEL", "its label of SELinux"),
            ("apparmor", TEXT, "PROFILE", "its profile of AppArmor"),
            ("cgroup", LIST, "PATH", "the group below the container's to run it in"),
            ("ignore-paused", SWITCH, "", "go on where the container is paused"),
        ),
    ),
    "pause": Command(about="let every process of a container stand still"),
    "resume": Command(about="let them go on"),
    "update": Command(
        about="change the limits of a container",
        options=_options(
            ("resources r", TEXT, "FILE", "resources of the specification, as JSON; - is stdin"),
            *((name, TEXT, "VALUE", about) for name, about in _LIMITS),
        ),
    ),
    "ps": Command(about="show the processes of a container", most=-1, options=_options(_FORMAT)),
    "list": Command(
        about="show the containers",
        shows="",
        least=0,
        most=0,
        options=_options(_FORMAT, ("quiet q", SWITCH, "", "their ids only")),
    ),
    "events": Command(
        about="show what happens in a container, as lines of JSON",
        options=_options(
            ("stats", SWITCH, "", "show the figures once"),
            ("interval", TEXT, "5s", "time between figures"),
        ),
    ),
    "spec": Command(
        about="write a config.json to begin with",
        shows="",
        least=0,
        most=0,
        options=_options(_BUNDLE, ("rootless", SWITCH, "", "for a user without rights")),
    ),
    "features": Command(about="show what this runtime can do", shows="", least=0, most=0),
}

#: known, and not done
REFUSED: Final = {
    "apparmor": "profiles of AppArmor are not supported",
    "cgroup": "groups below the container's are not supported",
    "no-pivot": "the root is changed by pivot_root(2) alone",
    "process-label": "labels of SELinux are not supported",
}
IGNORED: Final = {
    "criu": "there is no checkpoint and no restore",
    "no-subreaper": "run waits for its own child and needs no subreaper",
}


def read(words: Sequence[str]) -> Invocation:
    """The invocation that some words are.  Raises `RequestError` as `usage`."""
    shared, rest = _read_options(words, SHARED)
    if shared.get("help") or shared.get("version") or not rest:
        return Invocation(command="", args=tuple(rest), shared=shared, options={})
    name, *after = rest
    command = COMMANDS.get(name)
    if command is None:
        raise usage(f"unknown command {name!r}")
    options, args = _read_options(after, (*command.options, *_HELP))
    for option, why in REFUSED.items():
        if options.get(option):
            raise usage(f"--{option}: {why}")
    if shared.get("rootless") not in (None, "auto", "false"):
        raise usage("--rootless: containers without the rights of root are not supported")
    if not options.get("help"):
        _check_number(name, command, args)
    return Invocation(command=name, args=tuple(args), shared=shared, options=options)


_HELP: Final = _options(("help h", SWITCH, "", "this text"))


def usage(text: str) -> RequestError:
    """A mistake in the words."""
    return RequestError(text, operation="read the command line", hint="cgmgr-oci --help")


def _check_number(name: str, command: Command, args: Sequence[str]) -> None:
    if len(args) < command.least or 0 <= command.most < len(args):
        shows = f" {command.shows}" if command.shows else ""
        raise usage(f"cgmgr-oci {name}{shows}: {len(args)} arguments given")


def _read_options(
    words: Sequence[str], known: Sequence[Option]
) -> tuple[dict[str, Value], list[str]]:
    by_name = {name: option for option in known for name in option.names}
    found: dict[str, Value] = {}
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        option = by_name.get(name)
        if option is None:
            raise usage(f"unknown option {word.partition('=')[0]}")
        if option.kind == SWITCH:
            found[option.names[0]] = _switch(word, value) if equals else True
            continue
        if not equals:
            if not rest:
                raise usage(f"{word} needs a value")
            value = rest.pop(0)
        if option.kind == LIST:
            said = found.setdefault(option.names[0], [])
            assert isinstance(said, list)
            said.append(value)
        else:
            found[option.names[0]] = value
    return found, rest


def _switch(word: str, value: str) -> bool:
    if value in ("true", "1", "t"):
        return True
    if value in ("false", "0", "f"):
        return False
    raise usage(f"invalid value in {word}: it takes true or false")


def overview() -> str:
    """The text of --help."""
    lines = ["usage: cgmgr-oci [OPTION...] COMMAND [ARG...]", "", "commands:"]
    lines += [f"  {name:<10} {command.about}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "", "options:", *_rows(SHARED)])


def help_of(name: str) -> str:
    """The text of COMMAND --help."""
    command = COMMANDS[name]
    shows = " ".join(filter(None, ("cgmgr-oci", name, "[OPTION...]", command.shows)))
    rows = _rows((*command.options, *_HELP))
    return "\n".join([f"usage: {shows}", "", command.about, "", "options:", *rows])


def _rows(options: Sequence[Option]) -> list[str]:
    rows: list[str] = []
    for option in options:
        if option.names[0] in IGNORED or option.names[0] in REFUSED:
            continue
        dashed = ", ".join(f"-{n}" if len(n) == 1 else f"--{n}" for n in reversed(option.names))
        rows.append(f"  {f'{dashed} {option.shows}'.rstrip():<28} {option.about}")
    return rows
