"""Devices: the least writes on v1, each read back; the rules as they are on v2."""

from __future__ import annotations

import errno

import pytest

from cgmgr.controllers import devices
from cgmgr.controllers.base import FilterRow, Row
from cgmgr.controllers.compare import agree
from cgmgr.errors import GroupBusy, KernelError, NotDelegated, RequestError
from cgmgr.resources import DeviceRule, Resources

from .saying import new, nothing, seen, undone, written
from .test_device_rules import ALL, NONE, rule

EVERYTHING = {"devices.list": "a *:* rwm"}
NULL, ZERO = rule("+c 1:3 rwm"), rule("+c 1:5 rwm")


def ask(*rules: DeviceRule) -> Resources:
    return Resources(devices=rules)


def test_nothing_asked() -> None:
    assert not devices.wants(Resources())
    assert devices.rows(Resources(), new(1)) == []
    assert devices.wants(Resources(devices=()))


@pytest.mark.parametrize(
    ("above", "asked", "writes"),
    [
        pytest.param("a *:* rwm", ask(), ["a *:* rwm > devices.deny"], id="nothing-allowed"),
        pytest.param(
            "a *:* rwm",
            ask(NULL),
            ["a *:* rwm > devices.deny", "c 1:3 rwm > devices.allow"],
            id="one",
        ),
        pytest.param("a *:* rwm", ask(ALL), [], id="everything"),
        pytest.param(
            "a *:* rwm", ask(ALL, rule("-c 1:3 w")), ["c 1:3 w > devices.deny"], id="all-but"
        ),
        pytest.param("c 1:3 rwm\nc 1:5 rwm", ask(NULL), ["c 1:5 rwm > devices.deny"], id="less"),
        pytest.param("c 1:3 rwm", ask(NULL), [], id="the-parent's"),
        pytest.param("", ask(), [], id="nothing-already"),
        pytest.param(
            "c 1:* rwm",
            ask(NULL),
            ["c 1:3 rwm > devices.allow", "c 1:* rwm > devices.deny"],
            id="narrower",
        ),
    ],
)
def test_a_new_group_begins_with_the_parents_list(
    above: str, asked: Resources, writes: list[str]
) -> None:
    rows = devices.rows(asked, new(1, {"devices.list": above}))
    assert written(rows) == writes
    assert [row.undo for row in rows] == [None] * len(rows)


@pytest.mark.parametrize(
    ("held", "asked", "writes"),
    [
        pytest.param("c 1:3 rwm", ask(NULL), [], id="held"),
        pytest.param(
            "c 1:3 rwm",
            ask(NULL, ZERO),
            ["c 1:5 rwm > devices.allow"],
            id="one-more",
        ),
        pytest.param(
            "c 1:3 rwm",
            ask(ZERO),
            ["c 1:5 rwm > devices.allow", "c 1:3 rwm > devices.deny"],
            id="another",
        ),
        pytest.param("c 1:3 rwm", ask(rule("+c 1:3 r")), ["c 1:3 wm > devices.deny"], id="less"),
        pytest.param("a *:* rwm", ask(ALL), ["a *:* rwm > devices.allow"], id="clear-the-unseen"),
    ],
)
def test_a_group_that_is_there(held: str, asked: Resources, writes: list[str]) -> None:
    files = {"devices.list": held}
    rows = devices.rows(asked, seen(1, files, parent=EVERYTHING))
    assert written(rows) == writes


def test_each_write_is_read_back_and_undone_in_the_other_file() -> None:
    files = {"devices.list": "c 1:3 rwm"}
    allow, deny = devices.rows(ask(ZERO), seen(1, files, parent=EVERYTHING))
    assert (allow.seen_in, allow.wanted) == ("devices.list", "c 1:3 rwm\nc 1:5 rwm")
    assert agree(allow.compare, allow.wanted, "c 1:5 rwm\nc 1:3 rwm")
    assert not agree(allow.compare, allow.wanted, "c 1:3 rwm")
    assert (deny.seen_in, deny.wanted) == ("devices.list", "c 1:5 rwm")
    assert (allow.undo_file, allow.undo) == ("devices.deny", "c 1:5 rwm")
    assert (deny.undo_file, deny.undo) == ("devices.allow", "c 1:3 rwm")
    assert not allow.irreversible


def test_from_a_default_of_allow_the_unseen_is_lost() -> None:
    (first, _) = devices.rows(ask(NULL), seen(1, EVERYTHING, parent=EVERYTHING))
    assert (first.undo_file, first.undo) == ("devices.allow", "a *:* rwm")
    assert "does not show" in first.irreversible


def test_to_a_default_of_allow_and_back() -> None:
    files = {"devices.list": "c 1:3 rwm\nc 1:5 r"}
    rows = devices.rows(ask(ALL), seen(1, files, parent=EVERYTHING))
    assert written(rows) == [
        "c 1:3 rwm > devices.allow",
        "c 1:5 r > devices.allow",
        "a *:* rwm > devices.allow",
    ]
    back = [(row.undo_file, row.undo) for row in reversed(rows)]
    assert back == [
        ("devices.deny", "a *:* rwm"),
        ("devices.allow", "c 1:5 r"),
        ("devices.allow", "c 1:3 rwm"),
    ]
    assert undone(rows, files)["devices.deny"] == "a *:* rwm"


@pytest.mark.parametrize("fresh", [True, False], ids=["new", "seen"])
def test_anything_below_a_parent_that_may_nothing(fresh: bool) -> None:
    parent = {"devices.list": ""}
    scene = new(1, parent) if fresh else seen(1, parent, parent=parent)
    with pytest.raises(RequestError, match="is allowed only: nothing"):
        devices.rows(ask(NULL), scene)


def test_a_parent_that_was_not_seen_may_everything() -> None:
    assert written(devices.rows(ask(ALL, rule("-c 1:3 w")), new(1))) == ["c 1:3 w > devices.deny"]


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        pytest.param(ask(ZERO), "c 1:5 rwm", id="another-device"),
        pytest.param(ask(rule("+c 1:3 rwm")), "c 1:3 rwm", id="more-letters"),
        pytest.param(ask(ALL), "a *:* rwm", id="everything"),
    ],
)
@pytest.mark.parametrize("fresh", [True, False], ids=["new", "seen"])
def test_more_than_the_parent(asked: Resources, what: str, fresh: bool) -> None:
    parent = {"devices.list": "c 1:3 rw"}
    scene = new(1, parent) if fresh else seen(1, parent, parent=parent)
    with pytest.raises(RequestError) as caught:
        devices.rows(asked, scene)
    message = f"devices cannot be {what}: /sys/fs/cgroup/x/cgmgr is allowed only: c 1:3 rw"
    assert str(caught.value) == message


def test_the_default_cannot_change_above_children() -> None:
    with pytest.raises(GroupBusy, match="groups below"):
        devices.rows(ask(), seen(1, EVERYTHING, children=("child",)))
    held = seen(1, {"devices.list": "c 1:3 rwm"}, children=("child",), parent=EVERYTHING)
    assert written(devices.rows(ask(NULL, ZERO), held)) == ["c 1:5 rwm > devices.allow"]


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        pytest.param(ask(), "deny everything", id="nothing"),
        pytest.param(
            ask(rule("+c *:* rwm"), rule("-c 1:3 w")),
            "allow c *:* rwm, deny c 1:3 w",
            id="a-hole-is-no-trouble-for-v2",
        ),
        pytest.param(ask(NONE, NULL), "deny a *:* rwm, allow c 1:3 rwm", id="two"),
    ],
)
def test_v2_hands_the_rules_on(asked: Resources, text: str) -> None:
    (row,) = devices.rows(asked, new(2))
    assert isinstance(row, FilterRow)
    assert (row.value, row.compare, row.rules) == (text, "", asked.devices)


def test_explain() -> None:
    allow = Row(controller="devices", file="devices.allow", value="c 1:3 rwm")
    denied = devices.explain(NotDelegated("no", errno=errno.EPERM), allow, nothing)
    assert isinstance(denied, RequestError)
    default = Row(controller="devices", file="devices.deny", value="a *:* rwm")
    busy = devices.explain(KernelError("no", errno=errno.EINVAL), default, nothing)
    assert isinstance(busy, GroupBusy)
    for number in (errno.EIO, errno.EINVAL):
        other = KernelError("no", errno=number)
        assert devices.explain(other, allow, nothing) is other


def test_observe() -> None:
    assert devices.observe(1) == ("devices.list",)
    assert devices.observe(2) == ()
