"""`cgmgr run`: a command in a container, under limits.

Law: words to a request (`run_options`), a group and a container for it, and the words for how it
ended.  The group is made first and removed last; the container lives within it, and nothing of
either is left on any way out.
"""

from __future__ import annotations

import contextlib
import os
import time

from cgmgr.errors import HostError

from . import run_options
from .failing import UsageError
from .foreground import Foreground
from .run_flags import GRAMMAR, USAGE, about_flags, flagged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from cgmgr.group import Group
    from cgmgr.manager import Manager
    from cgmgr.policy import Policy
    from cgmgr.result import Result
    from cgmgr.runtime.launcher import Container
    from cgmgr.runtime.spec import ContainerRequest

    from .flags import Given


def command(words: list[str]) -> int:
    """Run `cgmgr run`; returns the exit status."""
    from cgmgr.resources import Resources

    from . import groups, output, results, settings

    given = GRAMMAR.parse(words)
    if given.on("help"):
        width = output.columns()
        print("\n".join([*output.prose(USAGE, width), *GRAMMAR.help(width)]))
        return 0
    form = results.form(given.one("result"))
    policy = settings.policy(given.one("policy"))
    if policy is not None:
        _place(given, policy)
    request = run_options.request(given)
    if policy is not None:
        request = _on_top(policy, request)
    asked, more = settings.parted(request.resources or Resources(), given.all("property"))
    request = request.replace(resources=asked)
    how: dict[str, Any] = {"policy": policy, "best_effort": given.on("best-effort")}
    how["properties"] = more
    manager = groups.manager(given.one("driver") or "auto")
    run_options.check_parent(given, manager.host)
    group = run_options.group_name(given, request.id, manager)
    request = request.replace(cgroups_path=group)
    if given.on("dry-run") or manager.driver.name == "dryrun":
        with about_flags(given):
            print("\n".join(_plan(request, given, manager, how)))
        return 0
    _check_terminal(given)
    with Foreground(run_options.seconds(given)) as foreground:
        groups.sweep(manager)
        result = _run(request, given, manager, how, foreground)
        if result is not None:
            results.show(result, form)
    return foreground.status(result)


def _place(given: Given, policy: Policy) -> None:
    """What a policy says of a group counts where no option does."""
    driver = None if os.environ.get("CGMGR_DRIVER") else policy.driver
    for name, value in (("cgroup-parent", policy.parent), ("driver", driver)):
        if value is not None and given.one(name) is None:
            given.put(GRAMMAR.long[name], value)


def _on_top(policy: Policy, request: ContainerRequest) -> ContainerRequest:
    """The limits of the options on top of the policy's; what every container may open gives way to
    a policy that says something else."""
    from cgmgr.resources import Resources
    from cgmgr.resources.devices import DEFAULT_RULES

    asked = request.resources or Resources()
    if policy.resources.devices is not None and asked.devices == DEFAULT_RULES:
        asked = asked.replace(devices=None)
    return request.replace(resources=policy.resources.merge(asked))


def _check_terminal(given: Given) -> None:
    if given.on("interactive") and given.on("tty") and not os.isatty(0):
        raise UsageError(
            "standard input is no terminal, so it cannot be the container's: leave out -t, or -i"
        )


def _run(
    request: ContainerRequest,
    given: Given,
    manager: Manager,
    how: dict[str, Any],
    foreground: Foreground,
) -> Result | None:
    """The whole life of a container and of its group; None where a signal came before its start."""
    from . import groups

    _refuse_taken(request.id)
    with about_flags(given):
        group = manager.create(request.cgroups_path, request.resources, ephemeral=True, **how)
    with group:
        for error in group.report.refused:
            flagged(error, given)
        groups.tell(group.report)
        try:
            return _within(group, request, given, foreground)
        finally:
            foreground.finish()


def _refuse_taken(name: str) -> None:
    """The container's name, before the group's is found to be taken for that reason."""
    from cgmgr.errors import NameTaken
    from cgmgr.rundir import default_root
    from cgmgr.runtime.state import Containers

    record = Containers(default_root()).load(name)
    if record is not None:
        raise NameTaken(
            f"container {name!r} is there already, of process {record.launcher.pid}",
            operation="make container",
            value=name,
            hint=f"--name {name}-2",
        )


def _within(
    group: Group, request: ContainerRequest, given: Given, foreground: Foreground
) -> Result | None:
    from cgmgr.account import Account, Run
    from cgmgr.runtime.launcher import Container, Launch

    with Account(group) as account, _stdin(given) as stdin:
        with account.placement() as place:
            launch = Launch(host=group.host, placement=place, stdin=stdin, die_with_launcher=True)
            with _about_seccomp():
                container = Container.create(request, launch)
        with container:
            if foreground.pending is not None:
                return None
            begun = _start(container, group, given, foreground)
            foreground.wait(container.process.pidfd)
            ended = container.process.wait_ended()
            wall_usec = int((time.monotonic() - begun) * 1_000_000)
            run = Run(
                argv=request.argv,
                ended=ended,
                pid=container.process.pid,
                floors=container.init.floors,
                wall_usec=wall_usec,
                timed_out=foreground.timed_out,
                timeout_s=foreground.timeout_s,
            )
            return account.result(run)


@contextlib.contextmanager
def _about_seccomp() -> Generator[None]:
    """A host that cannot make or hold a filter can do without."""
    try:
        yield
    except HostError as error:
        from cgmgr.runtime.seccomp_names import COMPILE

        if error.operation == COMPILE:
            error.add_note("--security-opt seccomp=unconfined does without it")
        raise


@contextlib.contextmanager
def _stdin(given: Given) -> Generator[int]:
    """Ours with -i, else nothing."""
    if given.on("interactive"):
        yield 0
        return
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield null
    finally:
        os.close(null)


def _start(container: Container, group: Group, given: Given, foreground: Foreground) -> float:
    """Execute the program, and relay its terminal, if it has one, until it has ended; returns when
    it was started."""
    from cgmgr.runtime import terminal

    first = "pid" in (entry["type"] for entry in container.config["linux"]["namespaces"])
    master = container.init.terminal
    if master < 0:
        begun = time.monotonic()
        container.start()
        foreground.follow(container.process, first=first, kill=group.kill)
        return begun
    source = 0 if given.on("interactive") else None
    screen = 0 if os.isatty(0) else 1
    with terminal.following(master, screen), terminal.raw(0) if source == 0 else _as_it_is():
        begun = time.monotonic()
        container.start()
        foreground.follow(container.process, first=first, kill=group.kill)
        terminal.relay(master, source, 1, container.process.pidfd, wake=foreground.wake)
    return begun


def _as_it_is() -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


def _plan(
    request: ContainerRequest, given: Given, manager: Manager, how: dict[str, Any]
) -> list[str]:
    """Everything that would be done, a line each."""
    from cgmgr.runtime import bundle, launcher, spec

    path = f"{bundle.DEFAULT_STORE}/{request.id}"
    config = spec.build(request, bundle.DEFAULT_STORE)
    with _about_seccomp():
        setup = launcher.compiled(config, path, manager.host)
    foretold = manager.foresee(request.cgroups_path, request.resources, **how)
    for error in foretold.refused:
        flagged(error, given)
    return [
        f"# the group {request.cgroups_path}",
        *foretold.said(),
        f"# the container {request.id}",
        *bundle.describe(bundle.DEFAULT_STORE, request.id, spec.layers(request)),
        *setup.describe(),
        "# at its end all of this is removed",
    ]
