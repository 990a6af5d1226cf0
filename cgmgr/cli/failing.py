"""How a command fails: the one place where an error becomes text and an exit status.

Law: an error that was raised on purpose is two lines on standard error, ``cgmgr: what happened``
and ``hint: what to do``; a reader that went away is silence; anything else is a fault of cgmgr's
own, and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import signal
import sys

from cgmgr.errors import CgmgrError, KernelError, RequestError

from . import interruption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

#: 128 + the signal that would have ended a program written in C
READER_GONE: Final = 141
#: of a command that could not be executed, as a shell has it
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127

_WORD_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz_-."

#: what write(2) says of a place that takes no more; every file but standard output has its name
_NOT_WRITTEN: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class UsageError(RequestError):
    """The words of a command line make no command."""


def guarded(
    command: Callable[[list[str]], int], words: list[str], *, failure: int = 1, usage: int = 2
) -> int:
    """Run a command, and turn whatever it raises into text and an exit status."""
    try:
        status = command(words)
        sys.stdout.flush()
    except BrokenPipeError:
        _mute(sys.stdout.fileno())
        return READER_GONE
    except KeyboardInterrupt as error:
        return 128 + getattr(error, "number", signal.SIGINT)
    except (CgmgrError, OSError) as error:
        say(error)
        _flush()
        if interruption.is_why(error):
            return interruption.STATUS
        if isinstance(error, KernelError) and error.operation == "exec":
            return NOT_FOUND if error.errno == errno.ENOENT else NOT_EXECUTABLE
        return usage if isinstance(error, UsageError) else failure
    except Exception as error:
        if interruption.is_why(error):
            return interruption.STATUS
        if failure == 1:
            raise
        # an uncaught exception would end with 1, which here is what the payload says
        from traceback import print_exc

        print_exc()
        return failure
    return status


def say(error: CgmgrError | OSError) -> None:
    """An error on standard error, its notes and its hint below it."""
    lines = [f"cgmgr: {_message(error)}", *getattr(error, "__notes__", ())]
    hint = error.hint if isinstance(error, CgmgrError) else None
    if hint:
        first, *more = hint.splitlines()
        if _is_assignment(first):
            first = f"write {first}"
        lines += [f"hint: {first}", *(f"      {line}" for line in more)]
    complain("\n".join(lines))


def _is_assignment(hint: str) -> bool:
    """Whether it is a word to write, not a command."""
    word, equals, _ = hint.lstrip("'-").partition("=")
    return bool(equals) and word.islower() and not set(word) - {*_WORD_LETTERS}


def complain(text: str) -> None:
    """Text on standard error, which may be closed: then nobody wants to know."""
    try:
        print(_printable(text), file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        _mute(2)


def _message(error: CgmgrError | OSError) -> str:
    if isinstance(error, CgmgrError):
        return str(error)
    reason = (error.strerror or str(error)).lower()
    if error.errno in _NOT_WRITTEN and not error.filename:
        return f"write standard output: {reason}"
    return f"{error.filename}: {reason}" if error.filename else reason


def _printable(text: str) -> str:
    """Names may hold any byte; a terminal is shown escapes for what it would obey."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _flush() -> None:
    """What was said before the error; a disk that is full by now must not be told of twice."""
    try:
        sys.stdout.flush()
    except OSError:
        _mute(sys.stdout.fileno())


def _mute(fd: int) -> None:
    """What is still buffered goes nowhere, and says nothing at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)
