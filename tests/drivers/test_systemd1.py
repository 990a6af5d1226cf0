"""What systemd answers, or does not, and what we make of it."""

from __future__ import annotations

from typing import Any

import pytest

from cgmgr.drivers import systemd1
from cgmgr.drivers.bus import BusError, JobLost
from cgmgr.drivers.systemd1 import Systemd1
from cgmgr.errors import (
    CgmgrError,
    DeadlineExceeded,
    DriverError,
    NameTaken,
    NoSuchGroup,
    NotDelegated,
    RequestError,
)

SYSTEMD = "org.freedesktop.systemd1."
DBUS = "org.freedesktop.DBus.Error."


def refused(name: str) -> BusError:
    return BusError("no", name=name)


class Answers:
    """A bus that gives the answers it was told, in their order, and the state of every unit."""

    def __init__(self, *jobs: Any, states: tuple[Any, ...] = (), **calls: Any) -> None:
        self.jobs, self.states, self.calls = list(jobs), list(states), calls
        self.log: list[str] = []

    def job(
        self, member: str, signature: str, args: tuple[Any, ...], *, timeout_s: float = 30
    ) -> str:
        del signature, args, timeout_s
        return str(self._answer(member, self.jobs.pop(0)))

    def call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        args: tuple[Any, ...] = (),
        *,
        timeout_s: float = 10,
    ) -> tuple[Any, ...]:
        del path, interface, signature, args, timeout_s
        if member == "Get":
            return (("s", self._answer(member, self.states.pop(0))),)
        self._answer(member, self.calls.get(member, ""))
        return ()

    def close(self) -> None:
        """Nothing is open."""

    def _answer(self, member: str, answer: Any) -> Any:
        self.log.append(member)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def systemd(bus: Answers) -> Systemd1:
    return Systemd1(lambda: bus)


UNIT_EXISTS = refused(f"{SYSTEMD}UnitExists")
NO_SUCH_UNIT = refused(f"{SYSTEMD}NoSuchUnit")
LATE, LOST = DeadlineExceeded("late"), JobLost("lost")


def test_a_unit_that_failed_is_forgotten_and_started_once_more() -> None:
    bus = Answers(UNIT_EXISTS, "done")
    systemd(bus).start("x.scope", ())
    assert bus.log == ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]


def test_a_unit_that_is_there_is_taken() -> None:
    bus = Answers(UNIT_EXISTS, UNIT_EXISTS)
    with pytest.raises(NameTaken) as caught:
        systemd(bus).start("x.scope", ())
    assert caught.value.hint == "systemctl status x.scope"
    assert bus.jobs == []


def test_a_unit_that_vanished_in_between_is_not_started_again() -> None:
    with pytest.raises(NameTaken):
        systemd(Answers(UNIT_EXISTS, ResetFailedUnit=NO_SUCH_UNIT)).start("x.scope", ())


@pytest.mark.parametrize("result", ["failed", "canceled", "timeout", "dependency"])
def test_a_job_that_ends_otherwise_is_an_error(result: str) -> None:
    with pytest.raises(DriverError, match=f"job ended with '{result}'"):
        systemd(Answers(result)).start("x.scope", ())
    with pytest.raises(DriverError, match=f"job ended with '{result}'"):
        systemd(Answers(result)).stop("x.scope")


@pytest.mark.parametrize("answer", ["done", "skipped", NO_SUCH_UNIT], ids=str)
def test_stopping_what_is_gone_is_no_error(answer: Any) -> None:
    systemd(Answers(answer)).stop("x.scope")


@pytest.mark.parametrize("lost", [LATE, LOST], ids=["late", "lost"])
def test_a_start_whose_answer_got_lost_is_looked_up(lost: CgmgrError) -> None:
    systemd(Answers(lost, states=("active",))).start("x.scope", ())
    systemd(Answers(lost, states=("activating", "active"))).start("x.scope", ())
    for state in ("inactive", "failed"):
        with pytest.raises(type(lost)):
            systemd(Answers(lost, states=(state,))).start("x.scope", ())


@pytest.mark.parametrize("lost", [LATE, LOST], ids=["late", "lost"])
def test_a_stop_whose_answer_got_lost_is_looked_up(lost: CgmgrError) -> None:
    systemd(Answers(lost, states=("deactivating", "inactive"))).stop("x.scope")
    with pytest.raises(type(lost)):
        systemd(Answers(lost, states=("active",))).stop("x.scope")


def test_a_unit_that_does_not_settle_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(systemd1, "LOOK_S", 0.0)
    with pytest.raises(JobLost):
        systemd(Answers(JobLost("lost"), states=("activating",))).start("x.scope", ())


def test_where_systemd_is_silent_the_error_says_that_nothing_is_known() -> None:
    late = DeadlineExceeded("late")
    with pytest.raises(DeadlineExceeded) as caught:
        systemd(Answers(late, states=(DeadlineExceeded("silent"),))).start("x.scope", ())
    assert caught.value is late
    assert late.__notes__ == ["whether x.scope is there is not known: silent"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(f"{SYSTEMD}NoSuchUnit", NoSuchGroup, id="no-unit"),
        pytest.param(f"{DBUS}AccessDenied", NotDelegated, id="denied"),
        pytest.param(f"{DBUS}InteractiveAuthorizationRequired", NotDelegated, id="polkit"),
        pytest.param(f"{DBUS}PropertyReadOnly", RequestError, id="unknown-property"),
        pytest.param(f"{DBUS}InvalidArgs", RequestError, id="value"),
        pytest.param(f"{DBUS}InvalidSignature", RequestError, id="type"),
        pytest.param(f"{SYSTEMD}TransactionIsDestructive", BusError, id="another"),
    ],
)
def test_refusals_are_errors_of_their_kind(name: str, kind: type[CgmgrError]) -> None:
    with pytest.raises(kind):
        systemd(Answers(SetUnitProperties=refused(name))).set_properties("x.scope", ())
    with pytest.raises(kind):
        systemd(Answers(refused(name))).start("x.scope", ())


@pytest.mark.parametrize(
    ("text", "number"),
    [("252.39-1~deb12u1", 252), ("v245.4-1.fc32", 245), ("257~rc2", 257), ("239", 239), ("", 0)],
)
def test_versions(text: str, number: int) -> None:
    assert systemd(Answers(states=(text,))).version == number
