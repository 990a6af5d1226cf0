"""Makes, finds and lists groups on one host, and cleans up after those that died.

Law: names, drivers, records and locks meet here.  What a group can do is in `cgmgr.group`, how it
comes to be in the driver's plan.  What is under way is noted before the first step, so that
whatever a killed process leaves behind can be found (`cgmgr.unfinished`).
"""

from __future__ import annotations

import contextlib
import os
from itertools import count

from cgmgr import collect, kernfs, names, parents, rights, unfinished
from cgmgr import driver as drivers
from cgmgr.driver import Request
from cgmgr.errors import CgmgrError, GroupGone, NoSuchGroup
from cgmgr.group import Group, asked_for
from cgmgr.host import Host
from cgmgr.plan import Machine
from cgmgr.report import Report, foretold
from cgmgr.resources import Resources
from cgmgr.rundir import GroupRecord, Rundir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from typing import Any, Final

    from cgmgr.collect import Collected
    from cgmgr.driver import Driver
    from cgmgr.plan import Plan
    from cgmgr.policy import Policy
    from cgmgr.report import Foretold
    from cgmgr.result import Result

#: cgroup2 controllers that every group has, so that its use is counted; the others (cpuset resets
#: the affinity of every task below it) are switched on where they are asked for
ACCOUNTING: Final = ("cpu", "io", "memory", "pids")

CREATE_TRIES: Final = 5
#: drivers whose groups are found by a name that means another group to this manager's own
NAMERS: Final = ("cgroupfs", "systemd")

_serial = count(1)


class Manager:
    """The front door to groups.

    `driver` is a name of `cgmgr.driver.TABLE`, an entry point's, or "auto", which is what
    `CGMGR_DRIVER` says, else systemd where that is process 1, else cgroupfs.  `rundir` is where
    records and locks are, `Host` and paths are arguments so that nothing depends on the machine
    that this runs on.
    """

    def __init__(
        self, host: Host | None = None, *, driver: str = "auto", rundir: Rundir | None = None
    ) -> None:
        self.host = host if host is not None else Host.detect()
        self.rundir = rundir if rundir is not None else Rundir()
        named = driver if driver != "auto" else os.environ.get("CGMGR_DRIVER") or "auto"
        self._name = named if named != "auto" else drivers.usual(self.host)
        self._drivers: dict[str, Driver] = {}
        self._mountpoints = tuple(h.mountpoint for h in self.host.hierarchies)

    @property
    def driver(self) -> Driver:
        """The driver of new groups."""
        return self.driver_of(self._name)

    def create(
        self,
        name: str,
        resources: Resources | None = None,
        *,
        policy: Policy | None = None,
        ephemeral: bool = False,
        threaded: bool = False,
        best_effort: bool = False,
        properties: Sequence[str] = (),
        **words: Any,
    ) -> Group:
        """Make a group with settings, given as `Resources` or as words (`memory="512M"`).

        They lie on top of the `policy`, which also says below which group it is, and which
        controllers it has; its driver is the caller's to choose.  `ephemeral` groups belong to this
        process: `gc` removes them once it is dead.  `best_effort` reports what this host cannot
        hold, alone or beside the rest, in the group's `report`, instead of refusing.  `properties`
        are what systemd's unit is to have beside resources ("RuntimeMaxSec=1h").  Raises
        `NameTaken`, `RequestError`, `HostError`, `KernelError`; nothing is left then.
        """
        asked = asked_for(_below(policy, resources), words)
        request = self._request(name, asked, policy).replace(
            threaded=threaded, best_effort=best_effort, properties=tuple(properties)
        )
        rights.demand(self.driver.host)
        record = self._record(request, ephemeral)
        for attempt in range(CREATE_TRIES):
            try:
                return self._create(request, record)
            except GroupGone:
                # the parent was pruned by somebody between our look and our mkdir
                if attempt == CREATE_TRIES - 1:
                    raise
        raise AssertionError("the loop returns or raises")

    def _create(self, request: Request, record: GroupRecord) -> Group:
        name = request.group
        for above in kernfs.ancestors_of(name)[1:]:
            collect.settle(self, above)
        with parents.locked(self.rundir, name), Machine(self.driver.host) as machine:
            if (note := self.rundir.noted(name)) is not None:
                unfinished.settle(self.group_of(note))
                parents.prune_locked(self.driver, self.rundir, name)
            with self.rundir.knowing(name):
                observed = self.driver.observe(request)
                plan = self.driver.create(request, observed)
            record = record.replace(paths=self._paths(observed.place or name))
            try:
                self.rundir.note(record)
                parents.remember(self.rundir, observed.missing, self.driver)
                record = self._make(plan, machine, record)
            except BaseException as error:
                # what was not taken back, which a second ^C may have cut short, is left to gc
                clean = isinstance(error, Exception) and not hasattr(error, "__notes__")
                if clean or not self.driver.paths(name):
                    self.rundir.end(name)
                try:
                    parents.prune_locked(self.driver, self.rundir, name)
                except CgmgrError as left:
                    error.add_note(f"not undone: {left}")
                raise
        group = self._group(record, request.resources)
        group.report = Report(
            effects=tuple(machine.effects),
            refused=(*observed.skipped, *plan.refused, *machine.refused),
        )
        return group

    def _make(self, plan: Plan, machine: Machine, record: GroupRecord) -> GroupRecord:
        """Execute the plan of a group that is noted, and make the note its record."""
        take_back = plan.execute(machine)
        try:
            self.rundir.commit(record.name)
        except BaseException as error:
            unfinished.take_back(error, take_back)
            raise
        return record

    def _paths(self, place: str) -> dict[str, str]:
        """Where a new group will be, in every hierarchy."""
        return {h.key: kernfs.join(h.base, place) for h in self.driver.host.managed}

    def plan(self, name: str, resources: Resources | None = None, **how: Any) -> list[str]:
        """The lines of what `create` would do, given what it is given.  Changes nothing.

        Settings that best effort leaves out are lines of their own.  Raises what `create` would, as
        far as it can be foreseen.  What a change of a group would do, its `plan` says.
        """
        return self.foresee(name, resources, **how).said()

    def foresee(
        self,
        name: str,
        resources: Resources | None = None,
        *,
        policy: Policy | None = None,
        threaded: bool = False,
        best_effort: bool = False,
        properties: Sequence[str] = (),
        **words: Any,
    ) -> Foretold:
        """As `plan`, with what best effort would leave out by itself."""
        asked = asked_for(_below(policy, resources), words)
        request = self._request(name, asked, policy).replace(
            threaded=threaded, best_effort=best_effort, properties=tuple(properties)
        )
        rights.demand(self.driver.host)
        with self.rundir.knowing(request.group):
            observed = self.driver.observe(request)
            plan = self.driver.create(request, observed)
        return foretold(plan, observed, Machine(self.driver.host))

    def open(self, name: str) -> Group:
        """The group of that name, with the driver that made it.

        A group that somebody else made is opened too, as long as it exists; what was asked for it
        is then not known.  Raises `NoSuchGroup`.
        """
        group, record = self._known(name)
        driver = self.driver_of(record.driver) if record is not None else self.driver
        paths = driver.paths(group)
        if not paths:
            names.check_no_path(group, self._mountpoints)
            raise NoSuchGroup(
                f"there is no group {group}",
                operation="open group",
                path=group,
                hint="cgmgr group ls",
            )
        if record is None:
            record = GroupRecord(name=group, driver=driver.name, paths=paths)
        return self._group(record.replace(paths=paths), unfinished.recorded(record))

    def list(self, parent: str | None = None) -> list[str]:
        """The names of the groups below `parent`, in any hierarchy, sorted; without one below where
        groups are that are named without a path."""
        if parent is None:
            return self.driver.children(self.driver.parent)
        record = self.rundir.load(parent)
        driver = self.driver_of(record.driver) if record is not None else self.driver
        return driver.children(kernfs.check_path(parent))

    def recorded(self) -> Sequence[str]:
        """The names of the groups that were made as groups, wherever they are, sorted; one that
        somebody else removed is among them until `gc`.  Those that only had to be there for a group
        below them are not."""
        return sorted(record.name for record in self.rundir.records() if not record.implicit)

    @contextlib.contextmanager
    def group(self, name: str | None = None, **options: Any) -> Generator[Group]:
        """A group for the length of a `with`; removed at the end with every process in it.

        Without a name it gets one of its own.  Options are those of `create`.
        """
        chosen = name if name is not None else name_of_its_own()
        with self.create(chosen, ephemeral=True, **options) as group:
            yield group

    def gc(self) -> Collected:
        """Clear up after killed processes: remove their groups, and what they had half made or half
        removed, put back what they had half changed, and drop empty parents, damaged records, and
        the records of groups that somebody else removed.

        Everything in a group that goes is killed.  What cannot be done is reported; what cannot be
        removed stays recorded.  A group that somebody is at work with is left alone.
        """
        return collect.collect(self)

    def orphans(self) -> tuple[str, ...]:
        """The names of the groups that `gc` would remove, or whose records it would."""
        half = (note.name for note in self.rundir.cut_short() if note.before is None)
        return (*half, *(record.name for record in collect.orphans(self)))

    def half_changed(self) -> tuple[str, ...]:
        """The names of the groups whose old settings `gc` would put back."""
        notes = self.rundir.cut_short()
        return tuple(note.name for note in notes if note.before is not None)

    # -- inside

    def group_of(self, record: GroupRecord) -> Group:
        """The group of a record, where it is now: its `paths` are empty where it is nowhere."""
        paths = self.driver_of(record.driver).paths(record.name)
        return self._group(record.replace(paths=paths), Resources())

    def _request(self, name: str, resources: Resources, policy: Policy | None) -> Request:
        """What is asked of a driver for a new group."""
        group = self.full_name(policy.place(name) if policy is not None else name)
        names.check_no_path(group, self._mountpoints)
        counted = policy.controllers if policy is not None else None
        for controller in counted or ():
            self.driver.host.need(controller)
        enable = ACCOUNTING if counted is None else counted
        return Request(group=group, resources=resources, enable=enable)

    def _group(self, record: GroupRecord, resources: Resources) -> Group:
        return Group(
            record.name,
            host=self.driver_of(record.driver).host,
            driver=self.driver_of(record.driver),
            paths=record.paths,
            resources=resources,
            rundir=self.rundir,
        )

    def _record(self, request: Request, ephemeral: bool) -> GroupRecord:
        from cgmgr.resources.words import words_of

        return GroupRecord.of_this_process(
            name=request.group,
            driver=self.driver.name,
            resources=words_of(request.resources),
            ephemeral=ephemeral,
        )

    def full_name(self, said: str) -> str:
        """The full name of a group that is to be made.  Raises `RequestError` where a part of it is
        no name (`cgmgr.names`)."""
        return names.check_new_path(self.driver.full_name(said))

    def _known(self, said: str) -> tuple[str, GroupRecord | None]:
        """The full name of a group that may be there, whatever somebody called it, and its record:
        a group that another driver made is found by the name that it had there."""
        full = self.driver.full_name(said)
        if said.startswith("/"):
            exact = self.rundir.load(said) or self.rundir.noted(said)
            if exact is not None:
                return said, exact
        for name in (self._name, *(name for name in NAMERS if name != self._name)):
            try:
                group = self.driver_of(name).full_name(said)
            except CgmgrError:  # no name for that driver
                continue
            record = self.rundir.load(group) or self.rundir.noted(group)
            if record is not None:
                return group, record
        return full, None

    def driver_of(self, name: str) -> Driver:
        """The driver of that name, loaded once."""
        driver = self._drivers.get(name)
        if driver is None:
            driver = self._drivers[name] = drivers.load(name, self.host)
        return driver


def name_of_its_own() -> str:
    """A name for a group of this process, which no other process takes."""
    return f"run-{os.getpid()}-{next(_serial)}"


def _below(policy: Policy | None, resources: Resources | None) -> Resources | None:
    if policy is None:
        return resources
    return policy.resources.merge(resources if resources is not None else Resources())


def _driver(said: str, policy: Policy | None) -> str:
    """The driver that was named, else the environment's, else the policy's."""
    if said != "auto" or policy is None or os.environ.get("CGMGR_DRIVER"):
        return said
    return policy.driver or said


def run(
    argv: Sequence[str],
    *,
    timeout: float | None = None,
    name: str | None = None,
    driver: str = "auto",
    policy: Policy | None = None,
    **options: Any,
) -> Result:
    """Run a command in a group of its own, which is gone afterwards, and say how it ended.

        cgmgr.run(["make", "-j8"], timeout=600, memory="512M", cpus=1.5, cwd="src")

    Options are words of `Resources`, on top of those of the `policy`, and those of
    `cgmgr.running.run` (cwd, env, stdout, capture, input, ...).  Raises what `Manager.create` and
    `Group.run` do.
    """
    running, words = _parted(options)
    driver = _driver(driver, policy)
    with Manager(driver=driver).group(name, policy=policy, **words) as group:
        return group.run(argv, timeout=timeout, **running)


async def arun(
    argv: Sequence[str],
    *,
    timeout: float | None = None,
    name: str | None = None,
    driver: str = "auto",
    policy: Policy | None = None,
    **options: Any,
) -> Result:
    """As `run`, for asyncio; cancelling it kills what runs."""
    running, words = _parted(options)
    driver = _driver(driver, policy)
    with Manager(driver=driver).group(name, policy=policy, **words) as group:
        return await group.arun(argv, timeout=timeout, **running)


def _parted(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of running from words of resources."""
    from cgmgr.running import OPTIONS

    running = {name: value for name, value in options.items() if name in OPTIONS}
    return running, {name: value for name, value in options.items() if name not in OPTIONS}
