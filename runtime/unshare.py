"""What unshare(1) does, on our namespace code: new namespaces for this process, then a program.

Law: `run` changes the calling process, which has one thread, and ends in another program; with
`fork` it waits for that instead.  Nothing is printed.  The order of things is util-linux 2.38's.

Two things can only be done from outside, and so by a helper that was forked before: keeping a
namespace in a file (a bind mount of /proc/PID/ns/NAME) and writing id maps of several ranges (which
needs rights over the parent user namespace).

Source: unshare(1), unshare(2), user_namespaces(7), time_namespaces(7).
"""

from __future__ import annotations

import os
import signal

from cgmgr import linux
from cgmgr.errors import KernelError, RequestError, kernel_error
from cgmgr.record import Record

from . import mounts, namespaces
from .forking import Helper, decode, do, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from .forking import Act

PROPAGATIONS: Final = ("private", "shared", "slave", "unchanged")
SETGROUPS: Final = ("allow", "deny")
#: a child that could not become the program; its parent says why
STATUS_FAILED: Final = 126
#: unshare(1) writes time namespace offsets in seconds, as time_namespaces(7) names the clocks
_CLOCKS: Final = ("monotonic", "boottime")


class IdRange(Record):
    """`count` ids from `inner` on inside are those from `outer` on outside."""

    inner: int
    outer: int
    count: int = 1

    def __str__(self) -> str:
        return f"{self.inner} {self.outer} {self.count}"


class UnshareOptions(Record):
    """What is asked for.  `namespaces` are OCI's names; `files` are (namespace, file) to keep.

    `kill_child` is the signal that the child gets when this process dies.  `monotonic` and
    `boottime` are offsets in seconds.  `users` and `groups` are id maps; one that maps only the
    caller's own id needs no privilege.
    """

    argv: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    fork: bool = False
    kill_child: int | None = None
    mount_proc: str | None = None
    users: tuple[IdRange, ...] = ()
    groups: tuple[IdRange, ...] = ()
    setgroups: str | None = None
    propagation: str = "private"
    root: str | None = None
    wd: str | None = None
    setuid: int | None = None
    setgid: int | None = None
    keep_caps: bool = False
    monotonic: int | None = None
    boottime: int | None = None

    def check(self) -> None:
        for name in self.namespaces:
            namespaces.named(name)
        rules = (
            (self.propagation not in PROPAGATIONS, "--propagation", " or ".join(PROPAGATIONS)),
            (
                self.setgroups not in (None, *SETGROUPS),
                "--setgroups",
                " or ".join(SETGROUPS),
            ),
            (
                self.setgroups == "allow" and self._maps_only_itself(self.groups),
                "--setgroups",
                "allow excludes a map of the caller's own group alone (user_namespaces(7))",
            ),
            (
                (self.monotonic is not None or self.boottime is not None)
                and "time" not in self.namespaces,
                "--monotonic and --boottime",
                "they need a time namespace, --time",
            ),
            (
                bool(self.users or self.groups) and "user" not in self.namespaces,
                "--map-*",
                "it needs a user namespace, --user",
            ),
            (
                self.mount_proc is not None and "mount" not in self.namespaces,
                "--mount-proc",
                "it needs a mount namespace, --mount",
            ),
            (
                self.kill_child is not None and not self.fork,
                "--kill-child",
                "it needs --fork",
            ),
            (
                "pid" in dict(self.files) and not self.fork,
                "--pid=FILE",
                "it needs --fork: a pid namespace without a process cannot be kept",
            ),
        )
        for wrong, what, reason in rules:
            if wrong:
                raise RequestError(f"{what}: {reason}", operation=what)

    @staticmethod
    def _maps_only_itself(ranges: tuple[IdRange, ...]) -> bool:
        return len(ranges) == 1 and ranges[0].count == 1

    @property
    def program(self) -> tuple[str, ...]:
        """The command, else the user's shell."""
        return self.argv or (os.environ.get("SHELL") or "/bin/sh",)

    @property
    def flags(self) -> int:
        return namespaces.flags(self.namespaces)


def describe(options: UnshareOptions) -> list[str]:
    """One line for each thing that `run` does, in their order."""
    acts = [
        *_before(options),
        *_outside_maps(options),
        *_outside_files(options),
        *_after(options),
    ]
    return [*(what for what, _ in acts), f"exec {' '.join(options.program)}"]


def run(options: UnshareOptions) -> int:
    """Do it.  Without `fork` this returns only by raising; with it, it returns the child's exit
    status, 128 + n for signal n.

    Raises `KernelError` that says what could not be done; for the program itself its operation is
    "exec".
    """
    after = _after(options)  # now, because a new user namespace hides who we were outside
    with Helper(_outside_maps(options)) as maps, Helper(_outside_files(options)) as files:
        do(_before(options))
        maps.act()
        if options.fork:
            return _fork(options, after, files)
        files.act()
    return _become(options, after)


def _become(options: UnshareOptions, after: list[Act]) -> int:
    do(after)
    program = options.program
    try:
        os.execvp(program[0], list(program))
    except OSError as error:
        raise kernel_error("exec", program[0], error) from error


def _fork(options: UnshareOptions, after: list[Act], files: Helper) -> int:
    """Run the program in a child; a keyboard's signals are the child's business meanwhile."""
    report, theirs = os.pipe()
    before = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGTERM)}
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(report)
        for number, action in before.items():
            signal.signal(number, action)
        _live(options, after, parent, theirs)
    os.close(theirs)
    try:
        # a pid namespace can be kept once it has a process (fs/nsfs, pidns_for_children_get)
        files.act()
        with open(report, "rb", closefd=False) as file:
            failure = file.read()
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(report)
        _, status = os.waitpid(child, 0)
        for number, action in before.items():
            signal.signal(number, action)
    if failure:
        raise decode(failure)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _live(options: UnshareOptions, after: list[Act], parent: int, report: int) -> None:
    """The child: never returns.  What it could not do goes to the parent, through `report`."""
    try:
        if options.kill_child is not None:
            linux.prctl(linux.PR_SET_PDEATHSIG, options.kill_child)
            # in a new pid namespace the parent is 0, dead or alive
            if "pid" not in options.namespaces and os.getppid() != parent:
                os._exit(STATUS_FAILED)
        _become(options, after)
    except KernelError as error:
        os.write(report, encode(error))
    finally:
        os._exit(STATUS_FAILED)


def _before(options: UnshareOptions) -> list[Act]:
    """What the process does that is asked, before it may fork."""
    names = [n.name for n in namespaces.TABLE if n.name in options.namespaces]
    acts: list[Act] = []
    if options.flags:
        what = f"unshare {', '.join(names)}"
        acts.append((what, lambda: linux.unshare(options.flags)))
    for clock in _CLOCKS:
        offset: int | None = getattr(options, clock)
        if offset is not None:
            acts.append(_write("/proc/self/timens_offsets", f"{clock} {offset} 0"))
    return acts


def _after(options: UnshareOptions) -> list[Act]:
    """What the process does that executes the program, in the new namespaces."""
    acts: list[Act] = []
    acts += _map_itself(options)
    if "mount" in options.namespaces and options.propagation != "unchanged":
        kind = mounts.PROPAGATIONS[options.propagation] | linux.MS_REC
        what = f"mount --make-r{options.propagation} /"
        acts.append((what, lambda: linux.mount(None, "/", None, kind)))
    if options.root is not None:
        root = options.root
        acts.append((f"chroot {root}", lambda: os.chroot(root)))
        acts.append(("cd /", lambda: os.chdir("/")))
    if options.wd is not None:
        wd = options.wd
        acts.append((f"cd {wd}", lambda: os.chdir(wd)))
    if options.mount_proc is not None:
        acts += _mount_proc(options)
    acts += _become_user(options)
    if options.keep_caps:
        acts.append(("keep capabilities", _keep_capabilities))
    return acts


def _map_itself(options: UnshareOptions) -> Iterator[Act]:
    """Maps of one own id, which the process may write itself; setgroups must be denied before."""
    helped = _needs_outside(options)
    setgroups = options.setgroups
    if setgroups is None and options.groups and not helped:
        setgroups = "deny"
    if setgroups is not None:
        yield _write("/proc/self/setgroups", setgroups)
    if not helped:
        for name, ranges in (("uid_map", options.users), ("gid_map", options.groups)):
            if ranges:
                yield _write(f"/proc/self/{name}", _map_text(ranges))


def _map_text(ranges: tuple[IdRange, ...]) -> str:
    return "\n".join(str(one) for one in ranges) + "\n"


def _mount_proc(options: UnshareOptions) -> Iterator[Act]:
    place = options.mount_proc or "/proc"
    if options.propagation == "unchanged":
        # else the new proc would show on the host, too
        private = linux.MS_PRIVATE | linux.MS_REC
        yield (
            f"mount --make-rprivate {place}",
            lambda: linux.mount(None, place, None, private),
        )
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    yield (
        f"mount -t proc -o nosuid,nodev,noexec proc {place}",
        lambda: linux.mount("proc", place, "proc", flags),
    )


def _become_user(options: UnshareOptions) -> Iterator[Act]:
    gid, uid = options.setgid, options.setuid
    if options.keep_caps and uid:
        yield "keep capabilities", lambda: _prctl(linux.PR_SET_KEEPCAPS, 1)
    if gid is not None:
        if options.setgroups != "deny" and not (options.groups and not _needs_outside(options)):
            yield "setgroups none", lambda: os.setgroups([])
        yield f"setgid {gid}", lambda: os.setresgid(gid, gid, gid)
    if uid is not None:
        yield f"setuid {uid}", lambda: os.setresuid(uid, uid, uid)


def _prctl(option: int, value: int) -> None:
    linux.prctl(option, value)


def _keep_capabilities() -> None:
    """What is permitted survives exec as another user when it is inheritable and ambient."""
    _, permitted, _ = linux.capget()
    linux.capset(permitted, permitted, permitted)
    for number in range(permitted.bit_length()):
        if permitted >> number & 1:
            linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_RAISE, number)


def _write(path: str, text: str) -> Act:
    def act() -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    return f"write {text.strip()!r} > {path}", act


def _needs_outside(options: UnshareOptions) -> bool:
    """Whether an id map is more than the caller's own id."""
    return any(
        ranges and not (len(ranges) == 1 and ranges[0].count == 1 and ranges[0].outer == own)
        for ranges, own in ((options.users, os.geteuid()), (options.groups, os.getegid()))
    )


def _outside_maps(options: UnshareOptions) -> list[Act]:
    if not _needs_outside(options):
        return []
    process = f"/proc/{os.getpid()}"
    maps = (("uid_map", options.users), ("gid_map", options.groups))
    return [_write(f"{process}/{name}", _map_text(ranges)) for name, ranges in maps if ranges]


def _outside_files(options: UnshareOptions) -> list[Act]:
    process = f"/proc/{os.getpid()}"
    return [
        _bind(f"{process}/ns/{namespaces.named(name).proc}", path) for name, path in options.files
    ]


def _bind(namespace: str, path: str) -> Act:
    def act() -> None:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))
        linux.mount(namespace, path, None, linux.MS_BIND)

    return f"mount --bind {namespace} {path}", act
