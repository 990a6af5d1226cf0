"""What unshare(1) does, on our namespace code: new namespaces for this process, then a program.

Law: `run` changes the calling process, which has one thread, and ends in another program; with
`fork` it waits for that instead.  Nothing is printed.  The order of things is util-linux's.

Two things can only be done from outside, and so by a helper that was forked before: keeping a
namespace in a file (a bind mount of /proc/PID/ns/NAME) and writing id maps of several ranges (which
needs rights over the parent user namespace).

Source: unshare(1) of util-linux 2.42, unshare(2), user_namespaces(7), time_namespaces(7),
Documentation/admin-guide/binfmt-misc.rst.
"""

from __future__ import annotations

import errno
import os
import signal

from cgmgr import linux
from cgmgr.errors import KernelError, kernel_error

from . import mounts, namespaces
from .forking import Helper, decode, do, encode
from .idmaps import IdRange
from .unshare_options import UnshareOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from .forking import Act

__all__ = ["BINFMT", "IdRange", "UnshareOptions", "demand", "describe", "run"]

BINFMT: Final = "/proc/sys/fs/binfmt_misc"
#: what the parent of the program leaves to it (unshare(1), "--fork" and "--forward-signals")
_CHILDS_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
#: a child that could not become the program; its parent says why
STATUS_FAILED: Final = 126
#: unshare(1) writes time namespace offsets in seconds, as time_namespaces(7) names the clocks
_CLOCKS: Final = ("monotonic", "boottime")


#: linux/capability.h
_CAP_SYS_ADMIN: Final = 21


def demand(options: UnshareOptions) -> None:
    """Raise `KernelError`, with the way out, where this user may not make these namespaces: all but
    a user namespace, and what is made with one, need CAP_SYS_ADMIN (unshare(2))."""
    if not options.flags or "user" in options.namespaces:
        return
    if not linux.capget()[0] >> _CAP_SYS_ADMIN & 1:
        raise kernel_error(
            "unshare",
            ", ".join(_names(options)),
            errno.EPERM,
            hint="--map-root-user # in a user namespace of your own, or as root",
        )


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
    demand(options)
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
        os.execvpe(program[0], list(program), {} if options.clear_env else os.environ)
    except OSError as error:
        raise kernel_error("exec", program[0], error) from error


def _fork(options: UnshareOptions, after: list[Act], files: Helper) -> int:
    """Run the program in a child, whose business a keyboard's signals are meanwhile."""
    report, theirs = os.pipe()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (*_CHILDS_SIGNALS, signal.SIGCHLD))
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(report)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        _live(options, after, parent, theirs)
    os.close(theirs)
    before = {} if options.forward_signals else _ignore_signals()
    if not options.forward_signals:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
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
        status = _pass_on(child) if options.forward_signals else os.waitpid(child, 0)[1]
        for number, action in before.items():
            signal.signal(number, action)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    if failure:
        raise decode(failure)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _ignore_signals() -> dict[signal.Signals, Any]:
    """Leave the child's signals to it; returns what was done with them before."""
    return {number: signal.signal(number, signal.SIG_IGN) for number in _CHILDS_SIGNALS}


def _pass_on(child: int) -> int:
    """Send the child what we are sent, until it ends; returns its wait status.

    The signals are blocked and taken one by one: a handler would not run for one that comes right
    before waitpid(2), until the child has ended.
    """
    while True:
        number = signal.sigwait((*_CHILDS_SIGNALS, signal.SIGCHLD))
        if number != signal.SIGCHLD:
            os.kill(child, number)
            continue
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status


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


def _names(options: UnshareOptions) -> list[str]:
    return [n.name for n in namespaces.TABLE if n.name in options.namespaces]


def _before(options: UnshareOptions) -> list[Act]:
    """What the process does that is asked, before it may fork."""
    acts: list[Act] = []
    if options.owner is not None:
        acts += _become_owner(*options.owner)
    if options.flags:
        what = f"unshare {', '.join(_names(options))}"
        acts.append((what, lambda: linux.unshare(options.flags)))
    if options.setgroups is not None and _needs_outside(options):
        # once there is a map of groups it cannot be denied any more (user_namespaces(7))
        acts.append(_write("/proc/self/setgroups", options.setgroups))
    for clock in _CLOCKS:
        offset: int | None = getattr(options, clock)
        if offset is not None:
            acts.append(_write("/proc/self/timens_offsets", f"{clock} {offset} 0"))
    return acts


def _become_owner(uid: int, gid: int) -> Iterator[Act]:
    """A user namespace belongs to whoever makes it (user_namespaces(7))."""
    yield "setgroups none", lambda: os.setgroups([])
    yield f"setgid {gid}", lambda: os.setresgid(gid, gid, gid)

    def become() -> None:
        os.setresuid(uid, uid, uid)
        linux.prctl(linux.PR_SET_DUMPABLE, 1)  # else the files of /proc/self were root's

    yield f"setuid {uid}", become


def _after(options: UnshareOptions) -> list[Act]:
    """What the process does that executes the program, in the new namespaces."""
    acts: list[Act] = []
    acts += _map_itself(options)
    if "mount" in options.namespaces and options.propagation != "unchanged":
        kind = mounts.PROPAGATIONS[options.propagation] | linux.MS_REC
        what = f"mount --make-r{options.propagation} /"
        acts.append((what, lambda: linux.mount(None, "/", None, kind)))
    interpreter = options.load_interp
    if options.root is not None:
        if interpreter is not None and _is_fixed(interpreter):
            # it is one of the file system that is left here
            acts += (_mount_binfmt(BINFMT), _register(BINFMT, interpreter))
            interpreter = None
        root = options.root
        acts.append((f"chroot {root}", lambda: os.chroot(root)))
        acts.append(("cd /", lambda: os.chdir("/")))
    if options.wd is not None:
        wd = options.wd
        acts.append((f"cd {wd}", lambda: os.chdir(wd)))
    if options.mount_proc is not None:
        acts += _mount_proc(options)
    if options.mount_binfmt is not None:
        acts.append(_mount_binfmt(options.mount_binfmt))
        if interpreter is not None:
            acts.append(_register(options.mount_binfmt, interpreter))
    acts += _become_user(options)
    if options.keep_caps:
        acts.append(("keep capabilities", _keep_capabilities))
    return acts


def _map_itself(options: UnshareOptions) -> Iterator[Act]:
    """Maps of one own id, which the process may write itself; setgroups must be denied before."""
    if _needs_outside(options):
        return
    setgroups = options.setgroups or ("deny" if options.groups else None)
    if setgroups is not None:
        yield _write("/proc/self/setgroups", setgroups)
    for name, ranges in (("uid_map", options.users), ("gid_map", options.groups)):
        if ranges:
            yield _write(f"/proc/self/{name}", _map_text(ranges))


def _map_text(ranges: tuple[IdRange, ...]) -> str:
    return "\n".join(str(one) for one in ranges) + "\n"


def _mount_proc(options: UnshareOptions) -> Iterator[Act]:
    place = options.mount_proc or "/proc"
    if options.propagation != "private":
        # else the new proc could show on the host, too
        yield f"mount --make-rprivate {place}, if it is a mount", lambda: _make_private(place)
    yield _mount_kernels("proc", place)


def _make_private(place: str) -> None:
    try:
        linux.mount(None, place, None, linux.MS_PRIVATE | linux.MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:  # nothing is mounted there
            raise


def _mount_kernels(fstype: str, place: str) -> Act:
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    return (
        f"mount -t {fstype} -o nosuid,nodev,noexec {fstype} {place}",
        lambda: linux.mount(fstype, place, fstype, flags),
    )


def _mount_binfmt(place: str) -> Act:
    return _mount_kernels("binfmt_misc", place)


def _register(place: str, line: str) -> Act:
    """Written as it stands: it may hold bytes that are no text."""
    return _write(f"{place}/register", line)


def _is_fixed(line: str) -> bool:
    """Whether the interpreter is opened now (flag F), and not when a program needs it."""
    return "F" in line.rpartition(":")[2]


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
            os.write(fd, os.fsencode(text))
        finally:
            os.close(fd)

    return f"write {text.strip()!r} > {path}", act


def _needs_outside(options: UnshareOptions) -> bool:
    """Whether an id map is more than the caller's own id, or the namespace somebody else's."""
    if options.owner is not None and (options.users or options.groups):
        return True
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
