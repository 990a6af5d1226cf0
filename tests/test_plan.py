"""A plan is a transaction: all of it, or none of it, and what could not be put back is said."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cgmgr.controllers.base import Alternative, Row
from cgmgr.errors import ControllerUnavailable, HostError, KernelError
from cgmgr.host import Hierarchy, Host
from cgmgr.kernfs import Directory, Tree
from cgmgr.plan import (
    Drift,
    Effect,
    Enable,
    EnsureParent,
    Machine,
    MakeGroup,
    Plan,
    Step,
    Target,
    Write,
)

LOG: list[str] = []


class Note(Step):
    """Writes down what is done to it; `fails` is the part that fails."""

    name: str
    fails: str = ""

    def describe(self, machine: Machine) -> str:
        return f"note {self.name}"

    def execute(self, machine: Machine) -> None:
        self._log("do")

    def undo(self, machine: Machine) -> None:
        self._log("undo")

    def _log(self, what: str) -> None:
        if self.fails == what:
            raise KernelError(f"{what} {self.name}: invalid argument", errno=errno.EINVAL)
        LOG.append(f"{what} {self.name}")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    LOG.clear()
    (tmp_path / "x").mkdir()
    for name, text in {
        "cgroup.procs": "",
        "cgroup.subtree_control": "",
        "memory.limit_in_bytes": "9223372036854771712\n",
        "cpu.shares": "1024\n",
    }.items():
        (tmp_path / "x" / name).write_text(text)
    hierarchy = Hierarchy(
        key="memory", version=1, controllers=("memory",), mountpoint=str(tmp_path)
    )
    return Machine(Host("/nowhere", (hierarchy,)))


def test_every_step_is_done_in_order(machine: Machine) -> None:
    Plan(steps=(Note(name="a"), Note(name="b"))).execute(machine)

    assert LOG == ["do a", "do b"]


def test_a_failure_undoes_what_was_done_last_first(machine: Machine) -> None:
    plan = Plan(steps=(Note(name="a"), Note(name="b"), Note(name="c", fails="do"), Note(name="d")))

    with pytest.raises(KernelError, match="do c"):
        plan.execute(machine)

    assert LOG == ["do a", "do b", "undo b", "undo a"]


def test_what_cannot_be_undone_is_said(machine: Machine) -> None:
    plan = Plan(
        steps=(
            Note(name="a", irreversible="it reclaimed"),
            Note(name="b", fails="undo"),
            Note(name="c", fails="do"),
        )
    )

    with pytest.raises(KernelError) as caught:
        plan.execute(machine)

    assert LOG == ["do a", "do b", "undo a"]
    assert caught.value.__notes__ == [
        "not undone: note b: undo b: invalid argument",
        "not undone: note a: it reclaimed",
    ]


def test_an_interrupt_undoes_too(machine: Machine) -> None:
    class Interrupt(Note):
        def execute(self, machine: Machine) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Plan(steps=(Note(name="a"), Interrupt(name="b"))).execute(machine)

    assert LOG == ["do a", "undo a"]


def test_a_whole_plan_can_be_undone_later(machine: Machine) -> None:
    take_back = Plan(steps=(Note(name="a"), Note(name="b"))).execute(machine)
    take_back()

    assert LOG == ["do a", "do b", "undo b", "undo a"]


def test_undoing_later_says_what_stays(machine: Machine) -> None:
    take_back = Plan(steps=(Note(name="a", fails="undo"),)).execute(machine)

    with pytest.raises(HostError, match="not undone: note a"):
        take_back()


def test_plans_add_up_and_describe_themselves(machine: Machine) -> None:
    plan = Plan(steps=(Note(name="a", shared=True),)) + Plan(
        steps=(Note(name="b", irreversible="it reclaimed"),)
    )

    assert plan.describe(machine) == [
        "note a",
        "    shared: stays, unless this plan fails and nobody else uses it",
        "note b",
        "    cannot be undone: it reclaimed",
    ]


X = Target(group="/x", key="memory")


def test_groups_are_made_and_unmade(machine: Machine, tmp_path: Path) -> None:
    below = Target(group="/x/leaf", key="memory")
    take_back = Plan(steps=(EnsureParent(target=X), MakeGroup(target=below))).execute(machine)
    assert (tmp_path / "x" / "leaf").is_dir()

    with pytest.raises(KernelError, match="file exists"):
        Plan(steps=(MakeGroup(target=below),)).execute(machine)
    assert (tmp_path / "x" / "leaf").is_dir()

    take_back()
    assert not (tmp_path / "x" / "leaf").exists()
    assert (tmp_path / "x").is_dir(), "a parent that is not empty stays"


def write(file: str, value: str, **more: object) -> Write:
    previous = more.pop("previous", None)
    optional = bool(more.pop("optional", False))
    row = Row(controller="memory", file=file, value=value, **more)  # type: ignore[arg-type]
    return Write(target=X, row=row, previous=previous, optional=optional)  # type: ignore[arg-type]


def test_a_write_and_its_undo(machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "x" / "cpu.shares"
    take_back = Plan(steps=(write("cpu.shares", "2048", previous="1024"),)).execute(machine)
    assert file.read_text().startswith("2048")

    take_back()
    assert file.read_text().startswith("1024")


def test_a_value_that_the_kernel_changes_is_refused_and_put_back(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x" / "cpu.shares"
    file.write_text("1024")

    def clamp(_tree: Tree, _group: Directory, _file: str, data: bytes) -> None:
        """As v1 clamps shares, without a word."""
        file.write_text(str(min(int(data), 2000)))

    monkeypatch.setattr(Tree, "write_file", clamp)

    with pytest.raises(HostError, match="the kernel took it and holds '2000'"):
        Plan(steps=(write("cpu.shares", "9999", previous="1024"),)).execute(machine)

    assert file.read_text() == "1024"


def test_rounding_is_reported(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x" / "memory.limit_in_bytes"

    def round_down(_tree: Tree, _group: Directory, _file: str, data: bytes) -> None:
        file.write_text(str(int(data) // 4096 * 4096))

    monkeypatch.setattr(Tree, "write_file", round_down)
    Plan(steps=(write("memory.limit_in_bytes", "10000000", compare="bytes"),)).execute(machine)

    assert machine.effects == [Effect(path=str(file), asked="10000000", held="9998336")]


def test_an_alternative_is_taken_for_its_errno_only(machine: Machine, tmp_path: Path) -> None:
    instead = Row(controller="io", file="cpu.shares", value="500 ")
    absent = write(
        "blkio.weight",
        "500",
        alternative=Alternative(
            errno=errno.ENOENT, rows=(instead.replace(compare=""),), why="no cfq"
        ),
    )
    plan = Plan(steps=(absent,))
    where = str(tmp_path / "x")

    assert plan.describe(machine) == [
        f"write 500 > {where}/blkio.weight",
        f"    on ENOENT: write 500  > {where}/cpu.shares (no cfq)",
    ]
    plan.execute(machine)
    assert (tmp_path / "x" / "cpu.shares").read_text().startswith("500")

    other = write("blkio.weight", "5", alternative=Alternative(errno=errno.EINVAL, rows=(instead,)))
    with pytest.raises(ControllerUnavailable) as caught:
        Plan(steps=(other,)).execute(machine)
    assert caught.value.controller == "memory", "the row knows its controller, not the file name"


def test_best_effort_reports_instead(machine: Machine) -> None:
    Plan(steps=(write("pids.max", "5", optional=True), Note(name="a"))).execute(machine)

    assert [error.path for error in machine.refused] == [machine.absolute(X) + "/pids.max"]
    assert LOG == ["do a"]


def test_drift(machine: Machine, tmp_path: Path) -> None:
    step = write("cpu.shares", "2048")
    where = str(tmp_path / "x" / "cpu.shares")
    assert list(step.drift(machine)) == [Drift(path=where, asked="2048", held="1024")]

    (tmp_path / "x" / "cpu.shares").write_text("2048\n")
    assert list(step.drift(machine)) == []
    assert list(write("pids.max", "5").drift(machine)) == [
        Drift(path=str(tmp_path / "x" / "pids.max"), asked="5", held=None)
    ]
    assert list(Enable(target=X, controllers=("cpu",)).drift(machine)) == [
        Drift(path=str(tmp_path / "x" / "cgroup.subtree_control"), asked="+cpu", held="")
    ]
