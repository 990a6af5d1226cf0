"""What went wrong with a start, as an error of ours.

Law: the spawner's FAILED in, an error out, with what was asked for in it.
"""

from __future__ import annotations

import errno
import os

from cgmgr import kernfs
from cgmgr.errors import CgmgrError, GroupBusy, GroupGone, HostError, kernel_error

from .spawner import CLONE, DIRECTORY, EXEC, JOIN, PIDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from cgmgr.errors import KernelError

    from .request import Placement, SpawnRequest, Word

#: bytes of one word, with its end, from which on the kernel takes none: MAX_ARG_STRLEN, 32 pages
LONGEST_WORD: Final = 32 * os.sysconf("SC_PAGE_SIZE")


def program_of(request: SpawnRequest) -> str:
    """What is executed or called, for messages."""
    if request.entry:
        return request.entry
    return os.fsdecode(request.executable if request.executable is not None else request.argv[0])


def failure(
    request: SpawnRequest, stage: str, number: int, detail: bytes, text: bytes
) -> CgmgrError:
    """FAILED as an error of ours."""
    name = program_of(request)
    if not number:
        return HostError(f"{stage} {name}: {os.fsdecode(text)}", operation=stage, path=name)
    error = OSError(number, os.strerror(number))
    if stage in (JOIN, CLONE):
        return _not_placed(request.placement, stage, error, detail)
    if stage == PIDS and number == errno.EAGAIN:
        return _too_many(os.fsdecode(detail))
    if stage == EXEC:
        return _not_executed(request, number)
    if stage == DIRECTORY and request.cwd is not None:
        return kernel_error(stage, os.fsdecode(request.cwd), number)
    subject = os.fsdecode(detail) or name
    refusal = kernel_error(stage, subject, number, hint=_HINTS.get((stage, number)))
    if (stage, number) == _HARD_LIMIT:
        refusal.message += ": raising a hard limit needs CAP_SYS_RESOURCE"
    return refusal


def _too_many(detail: str) -> GroupBusy:
    """Of the group and its limit."""
    path, _, most = detail.rpartition(" ")
    return GroupBusy(
        f"attach to {path}: it has all the tasks that its pids.max allows, {most}",
        operation="attach",
        path=path,
        value=most,
        errno=errno.EAGAIN,
        hint=_WHOSE_PIDS,
    )


def _not_placed(place: Placement, stage: str, error: OSError, detail: bytes) -> CgmgrError:
    index = int(detail or b"-1")
    fd = place.procs_fds[index] if 0 <= index < len(place.procs_fds) else place.cgroup_fd
    if stage == CLONE and error.errno == errno.EAGAIN:
        hint = f"{_WHOSE_PIDS}, or: ulimit -u"
        return kernel_error("clone into", _path(fd), error, hint=hint)
    if fd is not None and error.errno in _GONE:
        return GroupGone(
            f"attach to {_path(fd)}: the group is gone",
            operation="attach",
            path=_path(fd),
            errno=error.errno,
        )
    if stage == CLONE and (fd is None or error.errno not in _GROUP_ERRORS):
        return kernel_error("clone", _path(fd), error)
    return kernfs.translate("attach", _path(fd), error, value="0")


_WHOSE_PIDS = "cgmgr group tree # whose pids are used up"
_GONE = frozenset({errno.ENOENT, errno.ENODEV})
#: what clone3 says of the group, and not of the flags
_GROUP_ERRORS = frozenset({errno.EACCES, errno.EBUSY, errno.EOPNOTSUPP})
#: by errno: of a path, and of a name that was looked for in PATH
_EXEC_HINTS = {
    errno.ENOENT: ("head -1 {} # of a script, this names its interpreter", "command -v {}"),
    errno.EACCES: ("chmod +x {} # or is it noexec: findmnt -T {}", "type -a {}"),
    errno.ENOEXEC: ("sed -i '1i #!/bin/sh' {}", "sed -i '1i #!/bin/sh' $(command -v {})"),
    errno.E2BIG: ("ulimit -s unlimited # a quarter of it is for words and environment",) * 2,
}
_HINTS = {
    ("join session keyring", errno.EDQUOT): "sysctl kernel.keys.maxkeys=2000",
}
_HARD_LIMIT = ("set rlimit", errno.EPERM)


def _not_executed(request: SpawnRequest, number: int) -> KernelError:
    name = program_of(request)
    longest = max((len(os.fsencode(word)) for word in _words(request)), default=0)
    if number == errno.E2BIG and longest >= LONGEST_WORD:
        # no limit of the user's, so there is nothing to raise
        error = kernel_error(EXEC, name, number)
        error.message += f": one word has {longest} bytes, {LONGEST_WORD - 1} are the most"
        return error
    return kernel_error(EXEC, name, number, hint=_exec_hint(number, name))


def _words(request: SpawnRequest) -> Iterator[Word]:
    """What the kernel copies for a program, word by word."""
    yield from request.argv
    for name, value in (request.env if request.env is not None else os.environ).items():
        yield f"{name}={value}"


def _exec_hint(number: int, name: str) -> str | None:
    if number not in _EXEC_HINTS:
        return None
    from shlex import quote

    of_path, of_name = _EXEC_HINTS[number]
    return (of_path if "/" in name else of_name).replace("{}", quote(name))


def _path(fd: int | None) -> str:
    if fd is None:
        return "a new process"
    try:
        return os.readlink(f"/proc/self/fd/{fd}").removesuffix(" (deleted)")
    except OSError:
        return "its group"
