"""Say, then do: steps, and plans of steps.

Law: a `Step` is frozen data that can describe itself, be executed and be undone; a `Plan` is a
tuple of steps, and the only thing that changes the machine.  No step decides: what it depends on
was observed before, and the plan was compiled from that.  A step names its group by a `Target`; the
machine says where that is.

A plan is a transaction.  When a step fails, those before it are undone, last first, and the error
says what could not be put back.
"""

from __future__ import annotations

import contextlib
import errno

from cgmgr import kernfs
from cgmgr.controllers import TABLE
from cgmgr.controllers.common import named
from cgmgr.controllers.compare import agree, rounded
from cgmgr.errors import CgmgrError, ControllerUnavailable, GroupGone, HostError
from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Final, Self

    from cgmgr.controllers.base import Row
    from cgmgr.host import Host


#: the text of a `Was` that only the driver can bring back
BY_DRIVER: Final = "by the driver"


class Target(Record):
    """A group in one hierarchy: `group` is its name, `key` the hierarchy's key."""

    group: str
    key: str


class Effect(Record):
    """A value that the kernel holds otherwise than it was asked, within what it may round."""

    path: str
    asked: str
    held: str


class Drift(Record):
    """A value that is not, or no longer, what was asked; `held` None where the file is gone."""

    path: str
    asked: str
    held: str | None


class Was(Record):
    """What a file held before it was changed, for whoever clears up after a killed process: the
    text that brings it back, by the hierarchy's key, the group's path there and the file.  A device
    filter has no file, "": what it was is known from what was asked for.  Nor has what a driver
    tells somebody else, whose text is `BY_DRIVER`: it is told again what the files held."""

    key: str
    path: str
    file: str = ""
    text: str = ""


class Machine:
    """Where a plan is executed: the host, where each group is, and what came of it.

    A group is at its own name below the hierarchy's base.  `refused` collects what a best-effort
    step could not hold.  `kept` is what a step puts by for its own undo, or for a later step, such
    as an open descriptor: steps are frozen.  `gone` are the names of groups that went together with
    one above them.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.effects: list[Effect] = []
        self.refused: list[CgmgrError] = []
        self.kept: dict[object, Any] = {}
        self.gone: set[str] = set()
        self._paths: dict[Target, str] = {}
        self._directories: dict[Target, kernfs.Directory] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the groups that `at` opened."""
        while self._directories:
            self._directories.popitem()[1].close()

    def path(self, target: Target) -> str:
        """The target's path within its hierarchy."""
        path = self._paths.get(target)
        if path is None:
            base = self.host.by_key(target.key).base
            path = self._paths[target] = kernfs.join(base, target.group)
        return path

    def tree(self, target: Target) -> kernfs.Tree:
        return self.host.tree(self.host.by_key(target.key))

    def absolute(self, target: Target) -> str:
        """The target's path as a person would find it."""
        return self.tree(target).absolute(self.path(target))

    def open(self, target: Target) -> kernfs.Directory:
        """The target's directory, for the caller to close."""
        return self.tree(target).open(self.path(target))

    def at(self, target: Target) -> kernfs.Directory:
        """The target's directory, opened once; it belongs to the machine."""
        directory = self._directories.get(target)
        if directory is None:
            directory = self._directories[target] = self.open(target)
        return directory


class Step(Record):
    """One change.  `irreversible` says why it cannot be taken back, `shared` that it is undone only
    when this very plan fails and nobody else uses what it made."""

    irreversible: str = ""
    shared: bool = False

    def describe(self, machine: Machine) -> str:
        """The change in one line, as a shell would do it where a shell could."""
        raise AssertionError(f"{type(self).__name__} does not describe itself")

    def alternatives(self, _machine: Machine) -> Iterator[str]:
        """What is done instead, and when, one line each."""
        return iter(())

    def execute(self, machine: Machine) -> None:
        """Make the change.  When this raises, the step itself has changed nothing."""
        raise AssertionError(f"{type(self).__name__} does not execute")

    def undo(self, machine: Machine) -> None:
        """Take the change back.  Called at most once, and only after `execute` returned."""

    def before(self, _machine: Machine) -> Iterator[Was]:
        """What `undo` would bring back, as far as a later process can.  Whether the step was done
        or not, it may be brought back."""
        return iter(())

    def drift(self, _machine: Machine) -> Iterator[Drift]:
        """Where the machine is not as this step would leave it.  Changes nothing."""
        return iter(())


class MakeGroup(Step):
    """mkdir of one group in one hierarchy."""

    target: Target

    def describe(self, machine: Machine) -> str:
        return f"mkdir {machine.absolute(self.target)}"

    def execute(self, machine: Machine) -> None:
        machine.tree(self.target).mkdir(machine.path(self.target))

    def undo(self, machine: Machine) -> None:
        with contextlib.suppress(GroupGone):
            machine.tree(self.target).rmdir(machine.path(self.target))


class EnsureParent(MakeGroup):
    """mkdir of a group above ours, which others may have made, or still use."""

    shared: bool = True

    def describe(self, machine: Machine) -> str:
        return f"mkdir -p {machine.absolute(self.target)}"

    def execute(self, machine: Machine) -> None:
        try:
            super().execute(machine)
        except CgmgrError as error:
            if error.errno != errno.EEXIST:
                raise

    def undo(self, machine: Machine) -> None:
        try:
            super().undo(machine)
        except CgmgrError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise


class Enable(Step):
    """Controllers switched on for the children of a cgroup2 group."""

    target: Target
    controllers: tuple[str, ...]
    shared: bool = True

    def describe(self, machine: Machine) -> str:
        return f"write {self._text('+')} > {machine.absolute(self.target)}/cgroup.subtree_control"

    def execute(self, machine: Machine) -> None:
        machine.at(self.target).write("cgroup.subtree_control", self._text("+"))

    def undo(self, machine: Machine) -> None:
        try:
            machine.at(self.target).write("cgroup.subtree_control", self._text("-"))
        except CgmgrError as error:
            # EBUSY: a group below has switched it on for its own children by now
            if error.errno not in (errno.EBUSY, errno.ENOENT):
                raise

    def drift(self, machine: Machine) -> Iterator[Drift]:
        enabled = (machine.at(self.target).try_read("cgroup.subtree_control") or "").split()
        if not set(self.controllers) <= set(enabled):
            path = f"{machine.absolute(self.target)}/cgroup.subtree_control"
            yield Drift(path=path, asked=self._text("+"), held=" ".join(enabled))

    def _text(self, sign: str) -> str:
        return " ".join(sign + name for name in self.controllers)


class Write(Step):
    """A controller's row, written and read back.

    `previous` is the text that was there, for undo; None in a group of this plan's own making,
    which is removed instead.  `optional` turns a refusal into an entry of the report (best effort).
    """

    target: Target
    row: Row
    previous: str | None = None
    optional: bool = False

    def describe(self, machine: Machine) -> str:
        was = f" (was {self.previous})" if self.previous is not None else ""
        return _line(machine, self.target, self.row) + was

    def alternatives(self, machine: Machine) -> Iterator[str]:
        alternative = self.row.alternative
        while alternative is not None:
            name = errno.errorcode.get(alternative.errno, str(alternative.errno))
            lines = [_line(machine, self.target, row) for row in alternative.rows]
            yield f"on {name}: {'; '.join(lines) or 'leave it'}" + (
                f" ({alternative.why})" if alternative.why else ""
            )
            alternative = alternative.rows[-1].alternative if alternative.rows else None

    def execute(self, machine: Machine) -> None:
        try:
            self._hold(machine, machine.at(self.target), self.row)
        except CgmgrError as error:
            if not self.optional:
                raise
            machine.refused.append(error)

    def _hold(self, machine: Machine, group: kernfs.Directory, row: Row) -> None:
        try:
            group.write(row.file, row.value)
        except CgmgrError as error:
            alternative = row.alternative
            if alternative is None or error.errno != alternative.errno:
                above = kernfs.parent_of(self.target.group)
                raise named(explain(error, row, group), above) from error
            for other in alternative.rows:
                self._hold(machine, group, other)
            return
        if row.compare:
            try:
                self._verify(machine, group, row)
            except CgmgrError:
                self._restore(machine)
                raise

    def _verify(self, machine: Machine, group: kernfs.Directory, row: Row) -> None:
        held = group.read(row.seen_in).strip()
        path = group.name_of(row.seen_in)
        if not agree(row.compare, row.wanted, held):
            raise HostError(
                f"write {row.value!r} to {path}: the kernel took it and holds {held!r}",
                operation="verify",
                path=path,
                value=row.value,
            )
        if rounded(row.compare, row.wanted, held):
            machine.effects.append(Effect(path=path, asked=row.value, held=held))

    def undo(self, machine: Machine) -> None:
        self._restore(machine)

    def drift(self, machine: Machine) -> Iterator[Drift]:
        yield from _drift(machine.at(self.target), self.row)

    def before(self, machine: Machine) -> Iterator[Was]:
        text = self.row.undo if self.row.undo is not None else self.previous
        if text is not None:
            file = self.row.undo_file or self.row.file
            # nothing at all is what the kernel takes for no write
            path = machine.path(self.target)
            yield Was(key=self.target.key, path=path, file=file, text=text or "\n")

    def _restore(self, machine: Machine) -> None:
        for was in self.before(machine):
            machine.at(self.target).write(was.file, was.text)


def explain(error: CgmgrError, row: Row, group: kernfs.Directory) -> CgmgrError:
    """The kernel's refusal in the words of the controller, which knows what its errnos mean."""
    if isinstance(error, ControllerUnavailable):
        error.controller = row.controller
        return error
    module = TABLE.get(row.controller)
    hook = getattr(module, "explain", None)
    return hook(error, row, group.try_read) if hook else error


def _drift(group: kernfs.Directory, row: Row) -> Iterator[Drift]:
    """A row without a comparison is a write that is only planned where something differs."""
    held = group.try_read(row.seen_in) if row.compare else ""
    if held is None and row.alternative is not None and row.alternative.errno == errno.ENOENT:
        for other in row.alternative.rows:
            yield from _drift(group, other)
    elif held is None or not row.compare or not agree(row.compare, row.wanted, held.strip()):
        path = group.name_of(row.file)
        yield Drift(path=path, asked=row.value, held=None if held is None else held.strip())


def _line(machine: Machine, target: Target, row: Row) -> str:
    return f"write {row.value} > {machine.absolute(target)}/{row.file}"


class Plan(Record):
    """Steps in their order, and, where that was wanted (best effort), what was left out because
    this host cannot hold it.  `describe` is what a dry run prints."""

    steps: tuple[Step, ...] = ()
    refused: tuple[CgmgrError, ...] = ()

    def __add__(self, other: Plan) -> Plan:
        return Plan(steps=self.steps + other.steps, refused=self.refused + other.refused)

    def describe(self, machine: Machine) -> list[str]:
        """One line a step; below it, indented, its alternatives and what cannot be taken back."""
        lines: list[str] = []
        for step in self.steps:
            lines.append(step.describe(machine))
            lines += [f"    {line}" for line in step.alternatives(machine)]
            if step.irreversible:
                lines.append(f"    cannot be undone: {step.irreversible}")
            if step.shared:
                lines.append("    shared: stays, unless this plan fails and nobody else uses it")
        return lines

    def before(self, machine: Machine) -> tuple[Was, ...]:
        """What brings the old values back, in the order in which the kernel takes them."""
        return tuple(was for step in reversed(self.steps) for was in step.before(machine))

    def execute(self, machine: Machine) -> Callable[[], None]:
        """Do every step, or none: on any failure what was done is undone, last first.

        Returns a function that undoes the whole plan later, for a caller whose own transaction goes
        on.  What could not be undone is added to the error as notes (PEP 678).
        """
        done: list[Step] = []
        try:
            for step in self.steps:
                step.execute(machine)
                done.append(step)
        except BaseException as error:
            for note in undo(done, machine):
                error.add_note(note)
            raise
        return lambda: _raise_if(undo(done, machine))


def undo(done: list[Step], machine: Machine) -> list[str]:
    """Take executed steps back, last first; returns what could not be, a line each."""
    failures: list[str] = []
    while done:
        step = done.pop()
        try:
            step.undo(machine)
        except CgmgrError as error:
            failures.append(f"not undone: {step.describe(machine)}: {error}")
            continue
        if step.irreversible:
            failures.append(f"not undone: {step.describe(machine)}: {step.irreversible}")
    return failures


def _raise_if(failures: list[str]) -> None:
    if failures:
        raise HostError("; ".join(failures), operation="undo")
