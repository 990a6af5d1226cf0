"""What is remembered of containers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cgmgr.errors import HostError
from cgmgr.owner import Owner
from cgmgr.runtime.state import ContainerRecord, Containers

ME = Owner.of()
DEAD = ME.replace(start_ticks=1)


@pytest.fixture
def containers(tmp_path: Path) -> Containers:
    return Containers(str(tmp_path / "run"))


def save(containers: Containers, record: ContainerRecord) -> None:
    with containers.lock(record.id):
        containers.save(record)


@pytest.mark.parametrize("init", [None, ME, DEAD], ids=["none", "alive", "dead"])
def test_a_record_comes_back(containers: Containers, init: Owner | None) -> None:
    record = ContainerRecord.of_this_process("web", "/store/web").replace(init=init)
    save(containers, record)

    assert containers.load("web") == record
    assert containers.records() == [record]
    assert record.running is (init is ME)


def test_a_launcher_that_died_leaves_an_orphan() -> None:
    record = ContainerRecord(id="web", bundle="/store/web", launcher=DEAD)

    assert record.orphaned
    assert not record.replace(launcher=ME).orphaned


def test_there_is_none(containers: Containers) -> None:
    assert containers.load("web") is None
    assert containers.records() == []


DAMAGE: dict[str, object] = {
    "cut-short": None,
    "no-object": [],
    "no-bundle": {"id": "web", "launcher": {}, "created_usec": 1},
    "relative-bundle": {"id": "web", "bundle": "store", "created_usec": 1},
    "another-name": {"id": "db", "bundle": "/store/web", "created_usec": 1},
    "another-type": {"id": "web", "bundle": "/store/web", "created_usec": "1"},
    "no-launcher": {"id": "web", "bundle": "/store/web", "created_usec": 1, "launcher": None},
    "half-a-launcher": {
        "id": "web",
        "bundle": "/store/web",
        "created_usec": 1,
        "launcher": {"pid": 1},
    },
}


@pytest.mark.parametrize("value", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_record_is_said_and_swept(containers: Containers, value: object) -> None:
    save(containers, ContainerRecord.of_this_process("web", "/store/web"))
    path = Path(containers.path_of("web"))
    path.write_text(json.dumps(value) if value is not None else '{"id": "we')

    with pytest.raises(HostError, match="damaged"):
        containers.load("web")
    assert containers.records() == []
    assert len(containers.sweep()) == 1
    assert containers.load("web") is None
