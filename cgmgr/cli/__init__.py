"""The command line, one file a command.

Law: the only code that prints or exits, and the only importer of the wings (drivers, runtime,
exporters). A command parses its words, calls the library and renders the answer.

This module finds the command and loads nothing else.  `run` and `unshare` have a grammar of their
own, docker's and util-linux's, and start without typer, which costs more than all the rest of them.
"""

from __future__ import annotations

import os
import sys

from . import interruption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Final

#: commands that parse their own words; the value is the module, its `command` takes the words
DIRECT: Final = {"run": "run", "unshare": "unshare"}

#: commands whose exit status is that of what they ran; the status of their own failures is docker's
PASSING: Final = (["run"], ["group", "run"])
OWN_FAILURE: Final = 125


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line, and return its exit status.

    Without words it is that of this process, which has nothing else to do.
    """
    if argv is None:
        interruption.at_once()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        _open_standard_streams()
        return _run(words)
    except KeyboardInterrupt:
        return interruption.STATUS
    finally:
        if argv is None:
            interruption.never()


def _open_standard_streams() -> None:
    """A standard descriptor that is closed would be the next file that is opened here, and a
    command would then write its output into a group's file."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for fd, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(fd, "w", encoding="utf-8", closefd=False))


def _run(words: list[str]) -> int:
    if words == ["--version"]:
        return _guarded(_version, words)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    return _guarded(_command(words), words)


def _guarded(command: Callable[[list[str]], int], words: list[str]) -> int:
    from .failing import guarded

    if words[:1] in PASSING or words[:2] in PASSING:
        return guarded(command, words, failure=OWN_FAILURE, usage=OWN_FAILURE)
    return guarded(command, words)


def _command(words: list[str]) -> Callable[[list[str]], int]:
    module = DIRECT.get(words[0]) if words else None
    if module is None:
        return _by_typer

    def direct(words: list[str]) -> int:
        from importlib import import_module

        status: int = import_module(f"{__name__}.{module}").command(words[1:])
        return status

    return direct


def _by_typer(words: list[str]) -> int:
    from .app import command

    return command(words)


def _version(_words: list[str]) -> int:
    from cgmgr import __version__

    print(f"cgmgr {__version__}")
    return 0
