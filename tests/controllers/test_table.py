"""The table of controllers, what has no settings, and the raw map."""

from __future__ import annotations

import pytest

import cgmgr.controllers
from cgmgr.controllers import TABLE, cpuacct, perf_event, raw_rows
from cgmgr.errors import ControllerUnavailable
from cgmgr.host import IMPLICIT_ON_V2, KNOWN, V2_NAMES
from cgmgr.names import PREFIXES
from cgmgr.record import Record
from cgmgr.resources import Raw, Resources
from cgmgr.resources.model import KEYS, SECTIONS
from cgmgr.resources.words import KEYED, PLACES, SINGLE

from .saying import new, seen, written

#: settings whose word is in no table of single ones: those by name, one in two spellings, the raw
ELSEWHERE = {*PLACES.values(), ("cpu", "shares"), ("", "unified")}


def test_every_known_controller_is_there_and_in_order() -> None:
    assert set(TABLE) == set(KNOWN)
    assert next(iter(TABLE)) == "cpuset"
    assert list(TABLE)[-2:] == ["devices", "freezer"]


def test_names_agree_with_the_host() -> None:
    for name, controller in TABLE.items():
        assert name == controller.NAME
        assert V2_NAMES.get(controller.V1, controller.V1) == name
        assert (name in IMPLICIT_ON_V2) == controller.IMPLICIT_ON_V2
    off_v2 = {name for name, controller in TABLE.items() if not controller.ON_V2}
    assert off_v2 == {"cpuacct", "net_cls", "net_prio"}


def test_no_group_is_named_like_a_controller_s_file() -> None:
    of_either_version = {name for c in TABLE.values() for name in (c.NAME, c.V1) if name}
    assert of_either_version <= PREFIXES


def test_every_setting_has_a_word() -> None:
    worded = {(section, field) for section, field, _ in SINGLE.values()}
    keyed: dict[type[Record], set[str]] = {}
    for kind, said, _ in KEYED.values():
        keyed.setdefault(kind, set()).update(said)
    for field, default in Resources().__defaults__.items():
        parts = SECTIONS[field].__defaults__ if field in SECTIONS else {}
        names = [(field, part) for part in parts] or [("", field)]
        missing = [name for name in names if name not in worded and name not in ELSEWHERE]
        assert not missing, (missing, default)
    for kind, fields in keyed.items():
        assert {KEYS[kind], *fields} == set(kind.__fields__), kind


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", TABLE)
def test_an_empty_request_is_no_rows(name: str, version: int) -> None:
    assert not TABLE[name].wants(Resources())
    filled = {"cpuset.cpus": "0", "cpuset.mems": "0"}
    assert TABLE[name].rows(Resources(), seen(version, filled)) == []


def test_membership_and_counting_have_no_settings() -> None:
    assert perf_event.wants(Resources(perf_event=True))
    assert not perf_event.wants(Resources(perf_event=False))
    for module in (perf_event, cpuacct):
        assert module.rows(Resources(perf_event=True), new(1)) == []
        assert module.observe(1) == ()


RAW = Resources(
    unified=(
        Raw(file="memory.high", value="64M"),
        Raw(file="io.max", value="8:0 rbps=1\n8:16 rbps=2"),
    )
)


def test_raw_is_one_write_a_line_in_its_order() -> None:
    rows = raw_rows(RAW, new(2))
    assert written(rows) == ["64M > memory.high", "8:0 rbps=1 > io.max", "8:16 rbps=2 > io.max"]
    assert [row.controller for row in rows] == ["memory", "io", "io"]


def test_raw_is_undone_where_one_write_can() -> None:
    files = {"memory.high": "max", "io.max": "8:0 rbps=9 wbps=max\n8:16 rbps=9 wbps=max"}
    assert [row.undo for row in raw_rows(RAW, seen(2, files))] == ["max", None, None]


def test_raw_is_refused_on_v1() -> None:
    with pytest.raises(
        ControllerUnavailable, match=r"memory\.high.*this hierarchy is v1"
    ) as caught:
        raw_rows(RAW, new(1))
    assert caught.value.controller == "memory"
    assert raw_rows(Resources(), new(1)) == []


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="has no nonsense"):
        cgmgr.controllers.nonsense  # noqa: B018
