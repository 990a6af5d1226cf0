"""From the words of `cgmgr run` to a container as the runtime takes it.

Law: text to values; what a container may be is checked where it is described, in
`cgmgr.runtime.spec`.  The file system is looked at for what an option names: an environment file, a
disk.
"""

from __future__ import annotations

import os

from cgmgr.errors import RequestError

from .failing import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Final

    from cgmgr.host import Host
    from cgmgr.manager import Manager
    from cgmgr.resources import Resources
    from cgmgr.runtime.devices import Device
    from cgmgr.runtime.spec import ContainerRequest, Ulimit

    from .flags import Given

HOST: Final = "host"
SHELL: Final = ("/bin/sh",)
#: --pid and its like -> the namespace of config.json
NAMESPACES: Final = {"pid": "pid", "ipc": "ipc", "uts": "uts", "cgroupns": "cgroup"}
#: docker's words for --security-opt that are a yes or a no, and which it is unless one is said
SECURITY: Final = {"no-new-privileges": True, "writable-cgroups": False}
SECCOMP: Final = "seccomp"


def request(given: Given) -> ContainerRequest:
    """The whole container.  Raises `RequestError`, before anything is made."""
    from cgmgr.runtime import namespaces, spec
    from cgmgr.runtime.volumes import parse_tmpfs, parse_volume

    # first, because a forgotten value ("-m host true") takes the image for it
    nodes = devices(given)
    limits = resources(given, [device.rule for device in nodes])
    rootfs, argv = command_of(given)
    name = given.one("name") or spec.new_id()
    spec.check_id(name)
    return spec.ContainerRequest(
        id=name,
        rootfs=rootfs,
        argv=argv,
        env=environment(given),
        cwd=given.one("workdir") or "/",
        user=given.one("user") or "",
        hostname=given.one("hostname") or "",
        volumes=tuple(parse_volume(text) for text in given.all("volume")),
        tmpfs=tuple(parse_tmpfs(text) for text in given.all("tmpfs")),
        devices=nodes,
        read_only=given.on("read-only"),
        terminal=given.on("tty"),
        console_size=_console_size() if given.on("tty") else None,
        capabilities=chosen_capabilities(given),
        no_new_privileges=privileges_stay(given),
        seccomp=seccomp(given),
        namespaces=own_namespaces(given, namespaces.DEFAULT),
        writable_cgroups=security(given)["writable-cgroups"],
        resources=limits,
        ulimits=ulimits(given),
        oom_score_adj=oom_score_adj(given),
        shm_bytes=shm_bytes(given, spec.SHM_BYTES),
    )


def chosen_capabilities(given: Given) -> tuple[str, ...]:
    """By --cap-add and --cap-drop; ALL is all that this process has to give."""
    from cgmgr import linux
    from cgmgr.runtime import capabilities

    added = given.all("cap-add")
    chosen = capabilities.choose(added, given.all("cap-drop"))
    if not any(word.upper() == capabilities.ALL for word in added):
        return chosen
    permitted = capabilities.names_of(linux.capget()[1])
    named = {capabilities.plain_name(w) for w in added if w.upper() != capabilities.ALL}
    return tuple(name for name in chosen if name in permitted or name in named)


def _console_size() -> tuple[int, int] | None:
    from cgmgr.runtime.terminal import size_of

    return size_of(0) or size_of(1)


def group_name(given: Given, name: str, manager: Manager) -> str:
    """The full name of the container's group."""
    parent = given.one("cgroup-parent")
    if parent is None or parent == "":
        return manager.full_name(name)
    try:
        return manager.full_name(f"{parent.rstrip('/')}/{name}")
    except RequestError as error:
        raise RequestError(
            f"--cgroup-parent {parent}: {error}",
            operation="read --cgroup-parent",
            value=parent,
            hint=error.hint,
        ) from error


def check_parent(given: Given, host: Host) -> None:
    """A group's name begins at the hierarchy's root, not at the file system's.  Raises
    `RequestError`."""
    from cgmgr.names import check_no_path

    parent = (given.one("cgroup-parent") or "").rstrip("/")
    if not parent.startswith("/"):
        return
    try:
        check_no_path(parent, (h.mountpoint for h in host.hierarchies))
    except RequestError as error:
        otherwise = "" if error.hint else "; there is a usual one where none is said"
        raise RequestError(
            f"--cgroup-parent {error}{otherwise}",
            operation="read --cgroup-parent",
            value=parent,
            hint=f"--cgroup-parent {error.hint}" if error.hint else None,
        ) from error


def command_of(given: Given) -> tuple[str, tuple[str, ...]]:
    """The root file system ("host" or a directory) and the command."""
    rest = list(given.rest)
    root = given.one("rootfs")
    if root is None:
        if not rest:
            raise UsageError("no image: write host, or --rootfs DIR", hint="cgmgr run host ps -ef")
        root = rest.pop(0)
        if root != HOST:
            raise UsageError(
                f"no image {root!r}: there is host, this machine's own root, and --rootfs for any "
                "directory",
                operation="find image",
                value=root,
                hint="cgmgr run host " + " ".join(rest) if rest else "cgmgr run host ps -ef",
            )
    elif root == HOST:
        root = f"./{root}"
    entry = given.one("entrypoint")
    if not entry and given.one("rootfs") is None and rest and rest[0].startswith("-"):
        raise UsageError(
            f"{rest[0]} comes too late: options stand before the image",
            operation="read command",
            value=rest[0],
            hint=_with_options_first(given, rest),
        )
    argv = ([entry] if entry else []) + rest
    if not argv and given.one("rootfs") is None:
        return root, SHELL
    if not argv:
        raise UsageError("no command", hint=f"cgmgr run --rootfs {root} /bin/sh")
    return root, tuple(argv)


def _with_options_first(given: Given, rest: list[str]) -> str:
    from shlex import join

    from .run_flags import GRAMMAR

    try:
        argv = GRAMMAR.parse(rest).rest
    except UsageError:
        return "cgmgr run --help"
    late = rest[: len(rest) - len(argv)]
    return join(["cgmgr", "run", *given.options, *late, HOST, *argv])


def environment(given: Given) -> tuple[str, ...]:
    """NAME=VALUE from --env-file and then --env.  A name alone passes on what is set here."""
    lines = [line for path in given.all("env-file") for line in _lines_of(path)]
    found: list[str] = []
    for line in [*lines, *given.all("env")]:
        name, equals, _ = line.partition("=")
        if not line:
            raise UsageError("--env '': write NAME=VALUE or NAME", operation="read environment")
        if equals:
            found.append(line)
        elif name in os.environ:
            found.append(f"{name}={os.environ[name]}")
    return tuple(found)


def _lines_of(path: str) -> Iterator[str]:
    """The lines of an environment file; comments begin with #, as in docker's.

    Lines end with a newline alone: splitlines() would cut a value at a form feed.
    """
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
            lines = [line.removesuffix("\r") for line in file.read().split("\n")]
    except OSError as error:
        raise UsageError(
            f"--env-file {path}: {(error.strerror or str(error)).lower()}",
            operation="read environment",
            path=path,
            errno=error.errno,
        ) from error
    for number, line in enumerate(lines, 1):
        text = line.lstrip()
        if not text or text.startswith("#"):
            continue
        name = text.partition("=")[0]
        if not name or any(c.isspace() for c in name):
            raise UsageError(
                f"--env-file {path}, line {number}: invalid name {name!r}",
                operation="read environment",
                path=path,
                value=name,
            )
        yield text


def devices(given: Given) -> tuple[Device, ...]:
    """The nodes; of two at one path the last counts."""
    from cgmgr.runtime.devices import find_devices

    found = [device for text in given.all("device") for device in find_devices(text)]
    return tuple({device.path: device for device in found}.values())


def resources(given: Given, more_rules: Sequence[str] = ()) -> Resources:
    """The limits; the devices are those that every container may use, unless rules add to them."""
    from cgmgr.facts import device_number
    from cgmgr.resources.devices import DEFAULT_RULES
    from cgmgr.resources.docker import from_docker

    from .run_flags import limits

    flags = limits(given)
    if more_rules:
        flags["device_cgroup_rule"] = [*given.all("device-cgroup-rule"), *more_rules]
    asked = from_docker(resolve=device_number, fresh=True, **flags)
    return asked if asked.devices is not None else asked.replace(devices=DEFAULT_RULES)


def own_namespaces(given: Given, default: tuple[str, ...]) -> tuple[str, ...]:
    """The namespaces of its own, less those that it shares with the host."""
    shared: set[str] = set()
    for flag, name in NAMESPACES.items():
        if _choice(given, flag, ("private", "host")) == "host":
            shared.add(name)
    network = _choice(given, "network" if "network" in given else "net", ("none", "host"))
    if network == "host":
        shared.add("network")
    return tuple(name for name in default if name not in shared)


def _choice(given: Given, flag: str, words: tuple[str, ...]) -> str | None:
    value = given.one(flag)
    if value and value not in words:
        raise UsageError(
            f"invalid --{flag} {value!r}: there are {' and '.join(words)}",
            operation="read options",
            value=value,
        )
    return value


def privileges_stay(given: Given) -> bool:
    """no_new_privs, unless --security-opt no-new-privileges=false."""
    return security(given)["no-new-privileges"]


def security(given: Given) -> dict[str, bool]:
    """What --security-opt says yes or no to, and what is the case where it does not."""
    chosen = dict(SECURITY)
    for option, name, value in _security_words(given):
        if name == SECCOMP and value:
            continue
        if name not in chosen or value not in (None, "true", "false"):
            raise UsageError(
                f"--security-opt {option!r}: there are {' and '.join(chosen)}, =true and =false, "
                "and seccomp=FILE, =builtin and =unconfined",
                operation="read options",
                value=option,
            )
        chosen[name] = value != "false"
    return chosen


def seccomp(given: Given) -> str:
    """--security-opt seccomp: "builtin", "unconfined", or a file."""
    from cgmgr.runtime.seccomp_profile import BUILTIN

    found = [value for _, name, value in _security_words(given) if name == SECCOMP and value]
    return found[-1] if found else BUILTIN


def _security_words(given: Given) -> Iterator[tuple[str, str, str | None]]:
    """Each --security-opt, its name and its value; docker takes a colon for =, too."""
    for option in given.all("security-opt"):
        name, separator, value = option.partition("=" if "=" in option else ":")
        yield option, name, value if separator else None


def ulimits(given: Given) -> tuple[Ulimit, ...]:
    """Resource limits, docker's ``name=soft[:hard]``; -1 is no limit, a size is in bytes."""
    from cgmgr.runtime.spec import Ulimit

    found: dict[str, Ulimit] = {}
    for text in given.all("ulimit"):
        name, _, values = text.partition("=")
        soft, colon, hard = values.partition(":")
        low, high = _limit(soft, text), _limit(hard if colon else soft, text)
        found[name] = Ulimit(name=name, soft=low, hard=high)
    return tuple(found.values())


def _limit(text: str, whole: str) -> int:
    if text == "-1":
        return -1
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise UsageError(
            f"--ulimit {whole!r}: write NAME=SOFT[:HARD] with numbers, or -1 for no limit",
            operation="read options",
            value=whole,
        )
    return int(text)


def seconds(given: Given) -> float | None:
    """--timeout."""
    text = given.one("timeout")
    if not text:
        return None
    from .settings import seconds as parse

    return parse(text)


def shm_bytes(given: Given, default: int) -> int:
    """--shm-size."""
    text = given.one("shm-size")
    if not text:
        return default
    from cgmgr.units import parse_bytes

    return parse_bytes(text, "--shm-size") or default


def oom_score_adj(given: Given) -> int | None:
    """--oom-score-adj."""
    text = given.one("oom-score-adj")
    if not text:
        return None
    from cgmgr.runtime.identity import OOM_SCORES
    from cgmgr.units import parse_int

    return parse_int(text, "--oom-score-adj", *OOM_SCORES)
