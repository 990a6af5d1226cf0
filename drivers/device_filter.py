"""The device filter of cgroup2: one BPF program of ours on each group, replaced as a whole.

Law: everything that is known of attached programs lives here; what the instructions mean is
`device_program`'s, the system calls are `bpf`'s.  Programs that others attached (systemd's) are
never touched: the kernel asks all of a group's programs, and those of the groups above, and one no
is a no.  So two programs of ours would make a filter that nobody asked for, and a change is always
a replacement: the new program takes the place of the old one in one step, without a moment in
which both hold or neither does.

Ours bear the name `cgmgr_dev`, which `bpftool cgroup tree` shows.  Whoever calls holds the group's
lock (`cgmgr.rundir`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource

from cgmgr.errors import (
    CgmgrError,
    ControllerUnavailable,
    GroupGone,
    HostError,
    KernelError,
    NotDelegated,
)
from cgmgr.plan import Drift, Step, Target, Was
from cgmgr.record import Record

from . import bpf, device_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Final, Self

    from cgmgr.kernfs import Directory
    from cgmgr.plan import Machine
    from cgmgr.resources import DeviceRule

#: at most BPF_OBJ_NAME_LEN - 1 letters
NAME: Final = "cgmgr_dev"

#: the verifier gives up with EAGAIN while a signal is pending
_LOAD_TRIES: Final = 30
#: somebody else detached the program that was to be replaced
_ATTACH_TRIES: Final = 20
#: what the verifier may say: ENOSPC asks for the next size
_LOG_BYTES: Final = (1 << 16, 1 << 20, 1 << 24)
#: whose programs are there and cannot be opened: an SELinux label on systemd's (runc#3055)
_UNREADABLE: Final = frozenset({errno.EPERM, errno.EACCES})


class Attached(Record):
    """A program that is attached to a group itself; `name` and `tag` are "" for one that the kernel
    does not let this process look at.  Programs with one tag have the same instructions."""

    id: int
    name: str = ""
    tag: str = ""

    @property
    def ours(self) -> bool:
        return self.name == NAME


class Program:
    """An open program: a descriptor that keeps it loaded, attached or not."""

    __slots__ = ("fd", "info")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.info = bpf.obj_get_info_by_fd(fd)

    def close(self) -> None:
        """Let go of it; twice does no harm."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            self.close()


class Change(Record):
    """What a replacement did: the program that is attached now, and the one before, if any.  Both
    stay loaded until this is dropped."""

    new: Program
    old: Program | None


class ReplaceFilter(Step):
    """The rules become the whole filter of a cgroup2 group, in place of the one that is there."""

    target: Target
    rules: tuple[DeviceRule, ...]

    def describe(self, machine: Machine) -> str:
        return f"filter devices of {machine.absolute(self.target)}: {describe(self.rules)}"

    def execute(self, machine: Machine) -> None:
        with machine.open(self.target) as group:
            machine.kept[id(self)] = replace(group, self.rules)

    def undo(self, machine: Machine) -> None:
        change = machine.kept.pop(id(self), None)
        if isinstance(change, Change):
            with contextlib.suppress(GroupGone), machine.open(self.target) as group:
                _put_back(group, change)

    def before(self, machine: Machine) -> Iterator[Was]:
        yield Was(key=self.target.key, path=machine.path(self.target))

    def drift(self, machine: Machine) -> Iterator[Drift]:
        with machine.open(self.target) as group:
            held = [program for program in current(group) if program.ours]
            if holds(group, self.rules):
                return
        shown = ", ".join(f"program {program.id}" for program in held) or None
        path = machine.absolute(self.target)
        yield Drift(path=path, asked=f"devices: {describe(self.rules)}", held=shown)


def describe(rules: Iterable[DeviceRule]) -> str:
    """The rules in one line, in their order, over the default."""
    said = [
        f"{'allow' if rule.allow else 'deny'} {'all' if rule.kind == 'a' else rule}"
        for rule in rules
    ]
    return "; ".join(("deny all", *said))


def current(directory: Directory) -> tuple[Attached, ...]:
    """The programs of the group itself, ours and others', in the order in which they run."""
    found: list[Attached] = []
    for number in _query(directory).ids:
        try:
            with Program(bpf.prog_get_fd_by_id(number)) as program:
                said = program.info
                found.append(Attached(id=said.id, name=said.name, tag=said.tag))
        except OSError as error:
            if error.errno in _UNREADABLE:
                found.append(Attached(id=number))
            elif error.errno != errno.ENOENT:  # it went away meanwhile
                raise _failed("look at", directory, error) from error
    return tuple(found)


def holds(directory: Directory, rules: Iterable[DeviceRule]) -> bool:
    """Whether exactly one program of ours is attached, and it is the one that `rules` become.

    The wanted program is loaded to be compared, and let go of again.
    """
    ours = [program for program in current(directory) if program.ours]
    if len(ours) != 1:
        return False
    with _load(directory, rules) as wanted:
        return ours[0].tag == wanted.info.tag


def replace(directory: Directory, rules: Iterable[DeviceRule]) -> Change:
    """Attach the rules' program in place of ours, or as the first of ours; verified.

    When this raises, the filter is what it was.
    """
    new = _load(directory, rules)
    try:
        old = _attach(directory, new)
    except CgmgrError:
        new.close()
        raise
    attached = [program.id for program in current(directory) if program.ours]
    if attached != [new.info.id]:
        _put_back(directory, Change(new=new, old=old))
        raise HostError(
            f"{_what('verify', directory)}: program {new.info.id} was attached, "
            f"and the kernel holds {attached}",
            operation="verify device filter",
            path=_path(directory),
        )
    return Change(new=new, old=old)


def remove(directory: Directory) -> int:
    """Detach every program of ours; returns how many.  Nothing is filtered by us from then on."""
    ours = _open_ours(directory)
    for program in ours:
        _detach(directory, program)
    return len(ours)


def _load(directory: Directory, rules: Iterable[DeviceRule]) -> Program:
    code = device_program.assemble(device_program.build(rules))
    for attempt in range(_LOAD_TRIES):
        try:
            return Program(bpf.prog_load(code, NAME))
        except OSError as error:
            if error.errno == errno.EAGAIN and attempt < _LOAD_TRIES - 1:
                continue
            raise _not_loaded(directory, error, code) from error
    raise AssertionError("the last try raises or returns")


def _not_loaded(directory: Directory, error: OSError, code: bytes) -> CgmgrError:
    """The verifier says EACCES too, of a program that it refuses, but not without words."""
    words = _verifier_log(code)
    if not words:
        return _failed("load", directory, error)
    return KernelError(
        f"{_what('load', directory)}: {words}",
        operation="load device filter",
        path=_path(directory),
        errno=error.errno,
    )


def _verifier_log(code: bytes) -> str:
    """What the verifier says of a program; loading it again is the way to ask."""
    for size in _LOG_BYTES:
        try:
            os.close(bpf.prog_load(code, NAME, log_bytes=size))
        except OSError as error:
            if error.errno == errno.ENOSPC:
                continue
            words = error.strerror or ""
            return "" if words == os.strerror(error.errno or 0) else words
        return ""
    return ""


def _attach(directory: Directory, new: Program) -> Program | None:
    """Put `new` where ours was; returns what was there.  More than one of ours are leftovers of a
    kernel without BPF_F_REPLACE, and the others are detached."""
    for attempt in range(_ATTACH_TRIES):
        ours = _open_ours(directory)
        old = ours[-1] if ours else None
        try:
            _attach_in_place(directory, new, old)
        except OSError as error:
            if error.errno == errno.ENOENT and old is not None and attempt < _ATTACH_TRIES - 1:
                continue
            raise _not_attached(directory, error) from error
        for leftover in ours[:-1]:
            _detach(directory, leftover)
        return old
    raise AssertionError("the last try raises or returns")


def _attach_in_place(directory: Directory, new: Program, old: Program | None) -> None:
    if old is None:
        bpf.prog_attach(directory.fd, new.fd, bpf.BPF_F_ALLOW_MULTI)
        return
    flags = bpf.BPF_F_ALLOW_MULTI | bpf.BPF_F_REPLACE
    try:
        bpf.prog_attach(directory.fd, new.fd, flags, replace_fd=old.fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # Linux before 5.6: for a moment both hold, which can only be stricter than either
        bpf.prog_attach(directory.fd, new.fd, bpf.BPF_F_ALLOW_MULTI)
        _detach(directory, old)


def _not_attached(directory: Directory, error: OSError) -> CgmgrError:
    """EPERM has two meanings: we may not, or what is there already suffers no second program."""
    there = _query(directory)
    if error.errno != errno.EPERM or not there.ids or there.flags & bpf.BPF_F_ALLOW_MULTI:
        return _failed("attach", directory, error)
    return HostError(
        f"{_what('attach', directory)}: program {there.ids[0]} is attached, "
        "by somebody who allows no other beside it",
        operation="attach device filter",
        path=_path(directory),
        errno=errno.EPERM,
        hint=f"bpftool cgroup show {_path(directory)}",
    )


def _put_back(directory: Directory, change: Change) -> None:
    if change.old is None:
        _detach(directory, change.new)
        return
    try:
        _attach_in_place(directory, change.old, change.new)
    except OSError as error:
        raise _failed("put back", directory, error) from error


def _open_ours(directory: Directory) -> list[Program]:
    found: list[Program] = []
    for attached in current(directory):
        if not attached.ours:
            continue
        try:
            found.append(Program(bpf.prog_get_fd_by_id(attached.id)))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise _failed("open", directory, error) from error
    return found


def _detach(directory: Directory, program: Program) -> None:
    try:
        bpf.prog_detach(directory.fd, program.fd)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise _failed("detach", directory, error) from error


def _query(directory: Directory) -> bpf.Query:
    try:
        return bpf.prog_query(directory.fd)
    except OSError as error:
        raise _failed("look at", directory, error) from error


def _path(directory: Directory) -> str:
    return directory.tree.absolute(directory.path)


def _what(verb: str, directory: Directory) -> str:
    return f"{verb} device filter of {_path(directory)}"


#: errno -> what it means here, where strerror would mislead
_MEANINGS: Final = {
    errno.E2BIG: f"{bpf.MAX_PROGRAMS} programs are attached already",
    errno.ENOSYS: "this kernel has no bpf(2)",
    errno.EINVAL: "this kernel refuses the program, or was built without CONFIG_CGROUP_BPF",
}


def _failed(verb: str, directory: Directory, error: OSError) -> CgmgrError:
    number = error.errno or 0
    reason = _MEANINGS.get(number) or os.strerror(number).lower()
    message = f"{_what(verb, directory)}: {reason}"
    details: dict[str, Any] = {
        "operation": f"{verb} device filter",
        "path": _path(directory),
        "errno": number,
    }
    if number in _UNREADABLE:
        if _locked_memory_counts():
            return NotDelegated(message, hint="ulimit -l unlimited", **details)
        why = "bpf(2) wants CAP_SYS_ADMIN in the first user namespace"
        return NotDelegated(f"{message}: {why}", **details)
    if number == errno.ENOSYS or (number == errno.EINVAL and verb == "look at"):
        return ControllerUnavailable(message, controller="devices", **details)
    return KernelError(message, **details)


def _locked_memory_counts() -> bool:
    """Kernels before 5.11 charge programs to RLIMIT_MEMLOCK, and say EPERM when it is too low."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    release = tuple(int(part) for part in os.uname().release.split(".")[:2] if part.isdigit())
    return os.geteuid() == 0 and release < (5, 11) and soft != resource.RLIM_INFINITY
