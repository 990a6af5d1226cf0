"""What a live change costs on the bus: one call, and nothing else is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cgmgr.driver import BOOTED
from cgmgr.drivers import bus_pool
from cgmgr.group import Group
from cgmgr.manager import Manager
from cgmgr.rundir import Rundir

if TYPE_CHECKING:
    from cgmgr.drivers.bus import Adapter, Call, Connection, Reply

pytestmark = [
    pytest.mark.skipif(
        not Path("/", BOOTED).is_dir(), reason="needs systemd as PID 1 (sd_booted(3))"
    ),
    # of PyGObject, where CGMGR_BUS=pydbus
    pytest.mark.filterwarnings("ignore:DynamicImporter:ImportWarning"),
]

CHANGE: dict[str, Any] = {"memory": "32M", "cpus": 0.25, "pids": 10}
TELL = "SetUnitProperties"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The members of all messages that connections are given from now on, whatever the adapter."""
    members: list[str] = []
    adapter_of: Callable[[str], Adapter] = vars(bus_pool)["_adapter"]

    def listening(transport: str) -> Adapter:
        def open_over(sock: Any, *, direct: bool) -> Connection:
            connection = adapter_of(transport)(sock, direct=direct)
            call, tell = connection.call, connection.tell

            def noted_call(what: Call, deadline: float) -> Reply:
                members.append(what.member)
                return call(what, deadline)

            def noted_tell(what: Call, deadline: float) -> None:
                members.append(what.member)
                tell(what, deadline)

            monkeypatch.setattr(connection, "call", noted_call)
            monkeypatch.setattr(connection, "tell", noted_tell)
            return connection

        return open_over

    monkeypatch.setattr(bus_pool, "_adapter", listening)
    return members


@pytest.fixture
def manager(said: list[str], tmp_path: Path) -> Manager:
    del said  # from the first connection on
    return Manager(driver="systemd", rundir=Rundir(str(tmp_path / "run")))


@pytest.fixture(params=["scope", "slice"])
def group(request: pytest.FixtureRequest, manager: Manager, run_token: str) -> Iterator[Group]:
    stem = f"cgmgr-{run_token.replace('-', '_')}_calls"
    name = stem if request.param == "scope" else f"{stem}.slice"
    with manager.create(name, memory="64M", cpus=0.5, pids=20) as made:
        yield made


def test_a_live_change_is_one_call(group: Group, said: list[str]) -> None:
    assert {"Hello", "AddMatch", "StartTransientUnit", "RemoveMatch"} <= set(said)
    said.clear()
    group.update(**CHANGE)
    assert said == [TELL]


def test_a_look_at_it_is_none(group: Group, said: list[str]) -> None:
    group.update(**CHANGE)
    said.clear()
    assert group.diff() == []
    assert group.plan(memory="48M") != []
    assert said == []


def test_the_first_change_of_a_process_says_hello_and_asks_for_the_version(
    group: Group, said: list[str], tmp_path: Path
) -> None:
    other = Manager(driver="systemd", rundir=Rundir(str(tmp_path / "run"))).open(group.name)
    said.clear()
    other.update(**CHANGE)
    assert said == ["Hello", "Get", TELL]
    other.update(memory="40M")
    assert said[3:] == [TELL]


def test_a_change_that_fails_is_taken_back_with_one_call_more(
    group: Group, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old values come from the files."""
    said.clear()

    def full(*_arguments: object) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(group.rundir, "save", full)
    with pytest.raises(OSError, match="no space"):
        group.update(**CHANGE)
    assert said == [TELL, TELL]
    monkeypatch.undo()
    assert group.diff() == []
