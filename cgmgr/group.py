"""One managed group: what can be done to it and read from it, whatever driver made it.

Law: verbs on the files of a group that exists.  How groups come to be is the manager's and the
driver's; how a setting becomes a file the controllers'.  A verb that changes settings compiles a
plan and executes it under the group's lock.
"""

from __future__ import annotations

import os
import signal as signals
import time

from cgmgr import drifts, freezer, frozen, members, rights, shelf, unfinished
from cgmgr.counting import counted
from cgmgr.driver import Request
from cgmgr.errors import GroupGone, NoSuchGroup
from cgmgr.parents import prune
from cgmgr.plan import Machine
from cgmgr.report import Report, foretold
from cgmgr.resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Any, Final, Self

    from cgmgr.driver import Driver
    from cgmgr.host import Host
    from cgmgr.kept import KeptFiles
    from cgmgr.kernfs import Directory
    from cgmgr.plan import Drift, Plan
    from cgmgr.report import Foretold
    from cgmgr.result import Result
    from cgmgr.rundir import Rundir
    from cgmgr.running import AsyncGroupProcess, GroupProcess
    from cgmgr.spawn import Placement
    from cgmgr.stats import Stats

#: how long freeze, kill and delete may take unless told otherwise, in seconds
TIMEOUT_S: Final = 10.0


class Group:
    """A group that exists.  Get one from `cgmgr.manager.Manager`.

    Attributes: `name` ("/cgmgr/x"), `host`, `driver` (its name is recorded), `paths` (hierarchy key
    -> path there, "" is cgroup2), `resources` (what was asked for, empty where it is not known),
    `report` (what came of making it), `rundir` (where it is remembered).

    As a context manager it is deleted at the end, with every process in it.
    """

    def __init__(
        self,
        name: str,
        *,
        host: Host,
        driver: Driver,
        paths: Mapping[str, str],
        resources: Resources,
        rundir: Rundir,
    ) -> None:
        self.name = name
        self.host = host
        self.driver = driver
        self.paths = dict(paths)
        self.resources = resources
        self.report = Report()
        self.rundir = rundir

    def __repr__(self) -> str:
        return f"Group({self.name!r}, driver={self.driver.name!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        try:
            self.delete()
        except (GroupGone, NoSuchGroup):
            self.close()

    def close(self) -> None:
        """Let go of the open directories; the group stays.  They are opened again when needed."""
        shelf.drop(self, self.paths)

    def __del__(self) -> None:
        if hasattr(self, "paths"):
            self.close()

    # -- where it is

    def at(self, key: str) -> Directory:
        """The group's open directory in one hierarchy, by key.  It belongs to the group, and stays
        open as long as you hold it."""
        directory = shelf.get(self, key)
        if directory is None:
            hierarchy = self.host.by_key(key)
            if key not in self.paths:
                raise GroupGone(
                    f"group {self.name} is not in the hierarchy {key or 'cgroup2'}",
                    operation="open group",
                    path=self.name,
                )
            directory = self.host.tree(hierarchy).open(self.paths[key])
            shelf.keep(self, key, directory)
        return directory

    def directory(self, controller: str) -> Directory:
        """The group's directory where `controller` is held.  It belongs to the group.

        Raises `ControllerUnavailable` with the fix where no hierarchy holds it.
        """
        return self.at(self.host.need(controller).key)

    def everywhere(self) -> list[Directory]:
        """The group's directories in every hierarchy, cgroup2 first."""
        return [self.at(key) for key in sorted(self.paths)]

    def perf_fd(self) -> int:
        """A descriptor for perf_event_open(2) with PERF_FLAG_PID_CGROUP.  The caller closes it."""
        directory = self.directory("perf_event")
        return os.dup(directory.fd)

    # -- what it may use

    def update(
        self,
        resources: Resources | None = None,
        *,
        best_effort: bool = False,
        properties: Sequence[str] = (),
        **words: Any,
    ) -> Report:
        """Change settings live: all of them, or none (then the old values are back).

        Takes `Resources` or words (`memory="64M", cpus=0.5`), and `properties` of a systemd unit
        beside them ("RuntimeMaxSec=1h"), which are not remembered.  Raises `RequestError`,
        `LimitBelowUsage`, `HostError`, `KernelError`; with `best_effort` what this host cannot hold
        is in the report's `refused` instead.  Killed in the middle, the old values are back with
        the next change, or with `Manager.gc`.
        """
        asked = asked_for(resources, words)
        settled = unfinished.Settled()
        try:
            with self._lock():
                settled = unfinished.settle(self)
                machine, plan = self._compile(asked, best_effort, properties)
                with machine:
                    self.resources = unfinished.change(self, plan, machine, asked)
        except NoSuchGroup as error:
            if settled.removed:
                error.add_note("a process was killed while it made or removed it: it went just now")
            prune(self.driver, self.rundir, self.name)
            raise
        return Report(
            effects=tuple(machine.effects),
            refused=(*plan.refused, *machine.refused),
            restored=settled.restored,
            lost=settled.lost,
        )

    def plan(self, resources: Resources | None = None, **how: Any) -> list[str]:
        """The lines of what `update` would do, given what it is given.  Changes nothing.  Raises
        what it would, as far as it can be foreseen."""
        return self.foresee(resources, **how).said()

    def foresee(
        self,
        resources: Resources | None = None,
        *,
        best_effort: bool = False,
        properties: Sequence[str] = (),
        **words: Any,
    ) -> Foretold:
        """As `plan`, with what best effort would leave out by itself."""
        asked = asked_for(resources, words)
        rights.demand(self.host)
        request = self._request(asked, best_effort, properties)
        observed = self.driver.observe(request)
        return foretold(self.driver.update(request, observed), observed, self.machine())

    def diff(self) -> list[Drift]:
        """Where the kernel holds something else than was asked; empty when all is as asked.

        What cannot be held, be it that best effort left it out or that somebody changed another
        file, was asked, too: `held` is None there.
        """
        return drifts.diff(self)

    def stats(self, files: KeptFiles | None = None) -> Stats:
        """What the kernel counts, by controller.  A file that cannot be read is an entry of
        `Stats.errors`, never the end of the rest.  `files` stay open for the next time."""

        def reading(key: str) -> Callable[[str], str | None]:
            return self.at(key).try_read if files is None else files.reader(key, self.at)

        return counted(self.host, self.paths, reading)

    # -- who is in it

    def pids(self, recursive: bool = False) -> list[int]:
        """Process ids, sorted; with `recursive` those of the groups below too."""
        return members.pids(self._main(), recursive)

    def add(self, pid: int) -> None:
        """Move a process, with all its threads, into the group in every hierarchy, or in none.

        Raises `RequestError` where there is no such process, `GroupBusy` where the group has
        controllers switched on for groups below it and so may not hold processes (cgroup2).  Killed
        in the middle, some hierarchies have the process; the same again finishes it.
        """
        request = Request(group=self.name, pid=pid)
        observed = self.driver.observe(request)
        with self.machine() as machine:
            self.driver.attach(request, observed).execute(machine)

    def add_thread(self, tid: int) -> None:
        """Move one thread: everywhere on v1; on cgroup2 within a threaded domain only."""
        for key in self.paths:
            v1 = self.host.by_key(key).version == 1
            directory = self.at(key)
            if v1:
                directory.write("tasks", str(tid))
            elif (directory.try_read("cgroup.type") or "").strip() == "threaded":
                directory.write("cgroup.threads", str(tid))

    # -- what it does

    @property
    def state(self) -> str:
        """`thawed`, `freezing`, `frozen`, or `frozen by an ancestor`; the worst of both sides of a
        hybrid host, because a task that either side holds stands still."""
        return frozen.state(self)

    def freeze(self, timeout: float = TIMEOUT_S) -> None:
        """Stop every task, and return once all stand still; thawed again if that fails.

        Where `frozen` was asked for as a setting, it is what is asked from now on, as with `thaw`.

        There is no note of it: the kernel goes on where the caller is killed, so the group is
        frozen, as was asked, and `state` says so; `thaw` undoes it.

        Raises `DeadlineExceeded`, and `ControllerUnavailable` where there is no freezer.
        """
        with self._lock():
            deadline = time.monotonic() + timeout
            with unfinished.asking_frozen(self, True):
                freezer.freeze(self.directory("freezer"), deadline)

    def thaw(self, timeout: float = TIMEOUT_S) -> None:
        """Let every task run, and return once they do, on both sides of a hybrid host.

        Raises `HostError` naming the ancestor that is frozen, `DeadlineExceeded`.
        """
        with self._lock():
            deadline = time.monotonic() + timeout
            with unfinished.asking_frozen(self, False):
                frozen.thaw(self, deadline)

    def kill(self, signal: int = signals.SIGKILL, timeout: float = TIMEOUT_S) -> None:
        """SIGKILL every process, also below, and return once none is left; another signal is sent
        once to every process there is.  Raises `DeadlineExceeded`, naming the group above that is
        frozen, if one is.  Killed in the middle, it may leave the group frozen, with some dead; the
        same again finishes it."""
        directories = self.everywhere()
        if signal == signals.SIGKILL:
            members.kill_all(directories, time.monotonic() + timeout, frozen.way_out(self))
        else:
            members.send(members.everyone(directories), directories, signal)

    def wait_empty(self, timeout: float = TIMEOUT_S) -> None:
        """Return once no process is left; `DeadlineExceeded` otherwise."""
        deadline = time.monotonic() + timeout
        members.wait_empty(self.everywhere(), deadline, frozen.way_out(self))

    def delete(self, timeout: float = TIMEOUT_S, *, kill: bool = True) -> None:
        """Kill what is in it, and remove it from every hierarchy, with the groups below it and all
        their records.

        Raises `DeadlineExceeded` or `GroupBusy` when something cannot be killed, or without `kill`
        when there is a process; the group is then still recorded, and can be deleted again.  Killed
        in the middle, `Manager.gc` finishes it.
        """
        with self._lock():
            unfinished.remove(self, timeout, kill=kill)
        prune(self.driver, self.rundir, self.name)

    # -- running things in it

    def demand_entry(self) -> None:
        """Raise `NotDelegated` where this user's processes cannot come into the group, `HostError`
        where it is frozen, by itself or from above: nothing that is started in it would run."""
        rights.demand_entry(self.host)
        frozen.refuse_start(self)

    def placement(self) -> Placement:
        """Descriptors by which a process starts inside the group.  The caller closes it.

        Raises `HostError` where the group is frozen, by itself or from above, `NotDelegated`.
        """
        from cgmgr.spawn import Placement

        self.demand_entry()
        return Placement.of(self)

    def popen(self, argv: Sequence[str], **options: Any) -> GroupProcess:
        """Start a process in the group; no instruction of it runs outside.  See `cgmgr.spawn`."""
        from cgmgr import running

        return running.popen(self, argv, **options)

    def run(self, argv: Sequence[str], *, timeout: float | None = None, **options: Any) -> Result:
        """Run a command in the group to its end, and say how it ended.  See `cgmgr.running`."""
        from cgmgr import running

        return running.run(self, argv, timeout=timeout, **options)

    async def apopen(self, argv: Sequence[str], **options: Any) -> AsyncGroupProcess:
        """As `popen`, for asyncio: `await process.wait()`, `await process.communicate()`."""
        from cgmgr import running

        return await running.apopen(self, argv, **options)

    async def arun(
        self, argv: Sequence[str], *, timeout: float | None = None, **options: Any
    ) -> Result:
        """As `run`, for asyncio; cancelling it kills the group's processes."""
        from cgmgr import running

        return await running.arun(self, argv, timeout=timeout, **options)

    # -- inside

    def _compile(
        self, asked: Resources, best_effort: bool = False, properties: Sequence[str] = ()
    ) -> tuple[Machine, Plan]:
        request = self._request(asked, best_effort, properties)
        machine = self.machine()
        with self.rundir.knowing(self.name):
            observed = self.driver.observe(request)
        machine.refused += observed.skipped
        return machine, self.driver.update(request, observed)

    def _request(
        self, asked: Resources, best_effort: bool, properties: Sequence[str] = ()
    ) -> Request:
        return Request(
            group=self.name,
            resources=asked,
            remembered=unfinished.remembered(self),
            best_effort=best_effort,
            properties=tuple(properties),
        )

    def machine(self) -> Machine:
        """Where plans for this group are executed."""
        return Machine(self.host)

    def _lock(self) -> AbstractContextManager[object]:
        rights.demand(self.host)
        return self.rundir.lock(self.name)

    def _main(self) -> Directory:
        """The hierarchy whose membership counts: cgroup2 where the group is in it."""
        return self.at(min(self.paths))


def asked_for(resources: Resources | None, words: Mapping[str, Any]) -> Resources:
    """Resources as given, with words on top."""
    asked = resources if resources is not None else Resources()
    if not words:
        return asked
    from cgmgr.facts import device_number
    from cgmgr.resources.words import resources_of

    return resources_of(asked, device_number, **words)
