"""`cgmgr group run`: a command in a group, without a container."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any

import typer

from .failing import UsageError
from .options import BestEffort, DryRun, Policy, Property

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from cgmgr.group import Group
    from cgmgr.manager import Manager
    from cgmgr.report import Foretold, Report
    from cgmgr.resources import Resources
    from cgmgr.result import Result

    from .foreground import Foreground

Rest = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME [WORD=VALUE]... [--] COMMAND...",
        help="The group (none with --temp), settings for it, the command.",
        show_default=False,
    ),
]


def run(
    rest: Rest = None,
    temp: Annotated[
        bool, typer.Option("--temp", help="In a group of its own, removed afterwards.")
    ] = False,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", metavar="TIME", help="Kill all in it then; exit status 124."),
    ] = None,
    result: Annotated[
        str | None,
        typer.Option(
            "--result",
            metavar="text|json",
            help="How it ended and what it used, on standard error. JSON: {returncode, verdict, "
            "exit, signal, timed_out, oom, cpu_usage_usec, peak_memory_bytes, ...}; null is not "
            "known.",
        ),
    ] = None,
    policy: Policy = None,
    properties: Property = None,
    best_effort: BestEffort = False,
    dry_run: DryRun = False,
) -> int:
    """Run a command in a group; no instruction of it runs outside.

    Settings are made first, and stay.  The exit status is the command's, 128+N if signal N ended
    it, 127 if there is no such command, 126 if it cannot be executed, 125 if it could not be
    started.

    SIGKILL of cgmgr itself ends what runs in a group of its own (--temp), which the next command
    removes.  In a named group the command goes on: cgmgr group kill NAME.

    Example: cgmgr group run build memory=2G -- make -j8
    """
    from . import groups, results, settings
    from .foreground import Foreground

    name, words, argv = split(list(rest or []), temp)
    below = settings.policy(policy)
    asked, more = settings.parted(settings.resources(words, below), properties)
    form = results.form(result)
    limit = settings.seconds(timeout) if timeout else None
    said = [*words, *(properties or [])]
    how: dict[str, Any] = {"best_effort": best_effort, "properties": more}
    driver = "auto"
    if name is None:
        how["policy"], driver = below, settings.driver(driver, below)
    manager = groups.manager(driver)
    if dry_run:
        with settings.about(said):
            groups.foretell(_foresee(manager, name, asked, how), said)
        print(f"exec {' '.join(argv)}")
        return 0
    with Foreground(limit) as foreground:
        groups.sweep(manager)
        with _group(manager, name, asked, how, said) as group:
            try:
                ended = _run(group, argv, foreground, temp)
            finally:
                foreground.finish()
        if ended is not None:
            results.show(ended, form)
    return foreground.status(ended)


def split(rest: list[str], temp: bool) -> tuple[str | None, list[str], list[str]]:
    """The group's name, its settings, and the command.  Raises `UsageError`."""
    name = None
    if not temp:
        if not rest or rest[0] == "--":
            raise UsageError("no group: name one, or say --temp", hint="cgmgr group run --help")
        name = rest.pop(0)
    words: list[str] = []
    while rest and rest[0] != "--" and _is_setting(rest[0]):
        words.append(rest.pop(0))
    if rest[:1] == ["--"]:
        del rest[0]
    elif rest and rest[0].startswith("-"):
        raise UsageError(
            f"{rest[0]} comes too late: options stand before the group, or -- before the command",
            hint="cgmgr group run --help",
        )
    if not rest:
        raise UsageError("no command", hint=f"cgmgr group run {name or '--temp'} -- true")
    return name, words, rest


def _is_setting(word: str) -> bool:
    """Whether a word is WORD=VALUE; a path with a = in it is a command."""
    left, equals, _ = word.partition("=")
    return bool(equals) and "/" not in left


@contextlib.contextmanager
def _group(
    manager: Manager, name: str | None, asked: Resources, how: dict[str, Any], said: list[str]
) -> Generator[Group]:
    """The named group with its settings made, or one for this command alone."""
    from . import groups, settings

    with contextlib.ExitStack() as stack:
        with settings.about(said):
            if name is None:
                group = stack.enter_context(manager.group(resources=asked, **how))
                report: Report | None = group.report
            else:
                group = groups.find(manager, name)
                stack.callback(group.close)
                report = group.update(asked, **how) if asked or how["properties"] else None
        if report is not None:
            groups.tell(report, said)
        yield group


def _run(group: Group, argv: list[str], foreground: Foreground, temp: bool) -> Result | None:
    """None where a signal, or the end of its time, came before the start."""
    from cgmgr.errors import DeadlineExceeded
    from cgmgr.running import popen, start_s

    from .failing import say

    if foreground.pending is not None:
        return None
    try:
        started = popen(group, argv, timeout=start_s(foreground.timeout_s), die_with_caller=temp)
    except DeadlineExceeded as error:
        foreground.timed_out = True
        say(error)
        return None
    with started as process:
        foreground.follow(process, beside=True, kill=group.kill)
        foreground.wait(process.pidfd)
        ended = process.wait_ended()
        run = process.run(ended).replace(
            timed_out=foreground.timed_out, timeout_s=foreground.timeout_s
        )
        return process.account_for(run)


def _foresee(manager: Manager, name: str | None, asked: Resources, how: dict[str, Any]) -> Foretold:
    from cgmgr.manager import name_of_its_own

    from . import groups

    if name is not None:
        group = groups.find(manager, name)
        try:
            return group.foresee(asked, **how)
        finally:
            group.close()
    return manager.foresee(name_of_its_own(), asked, **how)
