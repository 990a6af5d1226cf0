"""^C at many moments of start-up: the status says so, and nothing else does."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from cgmgr.cli import interruption
from cgmgr.cli.failing import UsageError, guarded

#: sends itself SIGINT at the n-th call of a function, or at the first of one of that name; tells
#: how many calls there were, and which of `AWKWARD`
PROGRAM = """
import os, signal, sys
from cgmgr.cli import interruption, main
moment, *awkward = sys.argv.pop(1).split(",")
calls, met = 0, set()
def look(frame, event, _arg):
    global calls
    if event != "call" or frame.f_globals.get("__name__") == "cgmgr.cli.interruption":
        return
    calls += 1
    name = frame.f_code.co_name
    met.update({name} & set(awkward))
    if moment in (str(calls), name):
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGINT)
at_once, never = interruption.at_once, interruption.never
interruption.at_once = lambda: (at_once(), sys.setprofile(look))
interruption.never = lambda: (sys.setprofile(None), never())
status = main()
print(calls, *met)
sys.exit(status)
"""
#: what Python makes another exception of KeyboardInterrupt in, or only a message: a descriptor of a
#: class (before 3.12), the end of a lock of an import
AWKWARD = ("__set_name__", "cb")
MOMENTS = 20


def run(moment: int | str, words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join([str(moment), *AWKWARD]), *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        pytest.param("--version", id="version"),
        pytest.param("run --help", id="run"),
        pytest.param("unshare --help", id="unshare"),
        pytest.param("group create x --help", id="typer"),
        pytest.param("doctor --json", id="doctor"),
    ],
)
def test_at_any_moment_of_start_up_it_ends_with_130_and_silence(words: str) -> None:
    undisturbed = run(0, words.split())
    assert undisturbed.returncode == 0, undisturbed.stderr
    calls, *awkward = undisturbed.stdout.splitlines()[-1].split()
    wrong: dict[int | str, tuple[int, str]] = {}
    moments = {1 + index * int(calls) // MOMENTS for index in range(MOMENTS)}
    every: list[int | str] = [*sorted(moments), *awkward]
    for moment in every:
        ended = run(moment, words.split())
        if (ended.returncode, ended.stderr) != (130, ""):
            wrong[moment] = (ended.returncode, ended.stderr)
    assert wrong == {}


def test_an_error_that_came_of_it_is_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    """Python before 3.12 wraps what `__set_name__` raises, KeyboardInterrupt too."""

    def wrapped(_words: list[str]) -> int:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise RuntimeError("Error calling __set_name__") from error

    def told(_words: list[str]) -> int:
        try:
            raise KeyboardInterrupt
        finally:
            raise UsageError("it could not be undone")

    assert guarded(wrapped, []) == 130
    assert capsys.readouterr().err == ""
    assert guarded(told, []) == 130
    assert capsys.readouterr().err == "cgmgr: it could not be undone\n"


def test_where_it_is_ignored_it_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for say in (interruption.at_once, interruption.carefully, interruption.never):
            say()
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_raises_once_there_is_something_to_undo() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interruption.at_once()
        interruption.carefully()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        interruption.never()
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_error_that_is_its_own_reason_has_an_end() -> None:
    first, second = OSError("first"), OSError("second")
    first.__context__, second.__context__ = second, first
    assert not interruption.is_why(first)
    second.__cause__ = KeyboardInterrupt()
    assert interruption.is_why(first)
