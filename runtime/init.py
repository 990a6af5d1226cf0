"""A container's first process, from its fork until it executes the program.

Law: called in a clone of the spawner, which imported this module before: nothing is executed, no
thread or process is started, and only the standard library and modules of this folder that need
nothing else are used.  It decides nothing; it executes steps, reports, waits, and executes.

By now it is in its groups and namespaces, in a session and with a keyring of its own, signals are
at their defaults, and only standard input, output and error and the descriptors handed to it are
open: the launcher's channel first (`cgmgr.runtime.handshake`), then a gate and the file for what
fails after it, where there is a gate, then files of groups for `cgmgr.spawn.floors`; and those that
are the program's, under their numbers.
"""

from __future__ import annotations

import _socket
import errno
import os
import signal

from cgmgr import linux
from cgmgr.spawn import floors
from cgmgr.spawn.channel import receive, send

from . import console, devices, identity, joining, overlay, steps, sysctl
from .handshake import CREATED, EXECUTES, FAILED, START, TERMINAL, decode, listening

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Final, NoReturn

    from .handshake import Program
    from .steps import Step

#: every step there is, by name, as `handshake.encode` writes it
KINDS: Final = {
    kind.__name__: kind
    for module in (steps, overlay, identity, joining, console, devices, sysctl)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, steps.Step) and kind is not steps.Step
}

EXEC: Final = "exec"
PREPARE: Final = "prepare the first process"
FILTER: Final = "load the seccomp filter"
#: what is left when nobody can be told; a container engine's own failure
STATUS_FAILED: Final = 125
#: execvp(3) goes on to the next folder of PATH after these
_NEXT_FOLDER: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES})


class Failed(Exception):
    """Something could not be done; `what` is a step's description, or `EXEC` and the program."""

    def __init__(self, what: str, error: OSError) -> None:
        super().__init__(what)
        self.what = what
        self.error = error


def main(data: bytes, descriptors: list[int]) -> NoReturn:
    """The entry that the spawner calls.  Never returns."""
    channel = _socket.socket(fileno=descriptors[0])
    try:
        _live(data, channel, descriptors[1:])
    except Failed as failed:
        error = failed.error
        path = os.fsdecode(error.filename) if error.filename is not None else ""
        words = error.strerror or ""
        send(channel, (FAILED, failed.what, error.errno or 0, words, path))
    except BaseException as error:  # noqa: BLE001 - the launcher is told whatever it was
        send(channel, (FAILED, PREPARE, 0, f"{type(error).__name__}: {error}", ""))
    finally:
        os._exit(STATUS_FAILED)


def _live(data: bytes, channel: _socket.socket, handed: Sequence[int]) -> NoReturn:
    # Until exec nobody in the container may trace this process or open its descriptors
    # (CVE-2016-9962); and all that is open now is closed by exec.
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    linux.close_range(3, flags=linux.CLOSE_RANGE_CLOEXEC)
    _protect_interpreter()
    planned, program = decode(data, KINDS)
    for fd in range(3, 3 + program.kept):
        os.set_inheritable(fd, True)
    if program.die_with_launcher:
        _die_with_launcher()
    _furnish(planned, channel)
    if program.die_with_launcher:
        _die_with_launcher()  # a change of user clears it
    if _asks(program):
        # before anybody else is gone: whoever is asked is told by the launcher
        _find(program)
        os.write(channel.fileno(), listening(_load(program)))
    if program.gated:
        _find(program)
        send(channel, (CREATED,))
        channel.close()
        gate, failure = handed[:2]
        _pass(gate, failure, program)
    send(channel, (CREATED,))
    message, _ = receive(channel)
    if message != (START,):
        os._exit(STATUS_FAILED)
    send(channel, (EXECUTES, _floors(handed[program.others :])))
    _execute(program)


def _pass(gate: int, failure: int, program: Program) -> NoReturn:
    """Wait at the gate, and execute.  Nobody but the file is there to be told of a failure."""
    os.read(gate, 1)
    try:
        _execute(program)
    except Failed as failed:
        words = f"{failed.error.errno or 0} {failed.what}: {_subject(failed.error)}"
        os.write(failure, os.fsencode(words))
    finally:
        os._exit(STATUS_FAILED)


def _subject(error: OSError) -> str:
    path = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
    return path + (error.strerror or "")


def _find(program: Program) -> None:
    """What is surely missing is told while somebody is there to be told."""
    argv = [os.fsencode(word) for word in program.argv]
    env = dict(os.fsencode(pair).split(b"=", 1) for pair in program.env)
    paths = _candidates(argv[0], env)
    if not any(os.path.isfile(path) and os.access(path, os.X_OK) for path in paths):
        there = next((path for path in paths if os.path.lexists(path)), None)
        if there is None:
            where = "executable file not found in $PATH" if b"/" not in argv[0] else NOT_THERE
            raise Failed(EXEC, OSError(errno.ENOENT, where, os.fsdecode(argv[0])))
        raise Failed(EXEC, OSError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(there)))


NOT_THERE: Final = "no such file or directory"


def _protect_interpreter() -> None:
    """What /proc/self/exe means here must not be writable (see `cgmgr.spawn.interpreter`)."""
    if os.access("/proc/self/exe", os.W_OK):
        words = "its file could be overwritten from inside: copying its mount was not allowed"
        raise Failed("protect the interpreter", OSError(errno.EPERM, words))


def _die_with_launcher() -> None:
    """A launcher that is dead by now is seen as the end of its side of the channel."""
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)


def _furnish(planned: Iterable[Step], channel: _socket.socket) -> None:
    stage = steps.Stage(lambda fd: send(channel, (TERMINAL,), (fd,)))
    for step in planned:
        try:
            step.execute(stage)
        except OSError as error:
            raise Failed(step.describe(), error) from error


def _floors(fds: Sequence[int]) -> list[bytes]:
    try:
        return floors.taken(fds)
    except OSError as error:
        raise Failed("reset peak", error) from error


def _execute(program: Program) -> NoReturn:
    """execvpe(3) with the container's PATH; an empty entry of it is not the current folder.

    A filter comes last: what it forbids we do not need any more, but execve(2).
    """
    argv = [os.fsencode(word) for word in program.argv]
    env = dict(os.fsencode(pair).split(b"=", 1) for pair in program.env)
    found: OSError | None = None
    paths = _candidates(argv[0], env)
    if program.filter and not _asks(program):
        _find_exactly(paths, program)
        _load(program)
    for path in paths:
        try:
            os.execve(path, argv, env)
        except OSError as error:
            error.filename = path
            error = _explained(error)
            if error.errno not in _NEXT_FOLDER:
                raise Failed(EXEC, error) from error
            if found is None or error.errno == errno.EACCES:
                found = error
    missing = OSError(errno.ENOENT, "executable file not found in $PATH", os.fsdecode(argv[0]))
    if b"/" not in argv[0] and (found is None or found.errno != errno.EACCES):
        raise Failed(EXEC, missing)
    raise Failed(EXEC, found or missing)


def _find_exactly(paths: Sequence[bytes], program: Program) -> None:
    """`_find`, with the words of execve(2), which come too late for a filter."""
    if len(paths) == 1:
        try:
            os.stat(paths[0])
        except OSError as error:
            raise Failed(EXEC, error) from error
    _find(program)


def _asks(program: Program) -> bool:
    """Whether the filter has somebody asked."""
    return bool(program.filter_flags & linux.SECCOMP_FILTER_FLAG_NEW_LISTENER)


def _load(program: Program) -> int:
    """The filter is in force, for this thread and all that comes of it.  Returns the listener's
    descriptor where somebody is asked."""
    try:
        return linux.seccomp_filter(program.filter, program.filter_flags)
    except OSError as error:
        raise Failed(FILTER, error) from error


def _candidates(program: bytes, env: dict[bytes, bytes]) -> tuple[bytes, ...]:
    if b"/" in program:
        return (program,)
    folders = env.get(b"PATH", os.fsencode(os.defpath)).split(b":")
    return tuple(folder + b"/" + program for folder in folders if folder)


def _explained(error: OSError) -> OSError:
    """execve says ENOENT also of a program that is there and whose interpreter is not."""
    if error.errno == errno.ENOENT and os.path.exists(error.filename):
        return OSError(errno.ENOENT, "its interpreter is missing", error.filename)
    return error
