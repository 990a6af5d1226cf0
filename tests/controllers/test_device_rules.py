"""The device table: what a list of rules asks for, and the way from one table to another."""

from __future__ import annotations

import errno

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cgmgr.controllers.device_rules import (
    ALLOW,
    DENY,
    Table,
    granted,
    parse_list,
    target,
    transition,
)
from cgmgr.controllers.device_rules import written as after
from cgmgr.errors import RequestError
from cgmgr.resources import DeviceRule

from .saying import everything, rules

#: every device that the drawn rules can tell apart
DEVICES = [(kind, major, minor) for kind in "bc" for major in (1, 5, 9) for minor in (3, 5, 9)]
REQUESTS = ["r", "w", "m", "rw"]
ALL = DeviceRule(kind="a")
NONE = DeviceRule(kind="a", allow=False)


def rule(text: str) -> DeviceRule:
    """ "+c 1:3 rw" allows, "-c 1:3 rw" denies."""
    kind, numbers, access = text[1:].split()
    major, minor = (None if n == "*" else int(n) for n in numbers.split(":"))
    return DeviceRule(kind=kind, major=major, minor=minor, access=access, allow=text[0] == "+")


def permitted(table: Table) -> set[tuple[object, str]]:
    return {(device, way) for device in DEVICES for way in REQUESTS if table.permits(device, way)}


def meaning(listed: list[DeviceRule]) -> set[tuple[object, str]]:
    """What a list of rules means, letter by letter: the last rule that names both decides."""

    def allowed(device: tuple[str, int, int], letter: str) -> bool:
        answer = False
        for one in listed:
            if one.kind == "a" or (
                one.kind == device[0]
                and one.major in (None, device[1])
                and one.minor in (None, device[2])
                and letter in one.access
            ):
                answer = one.allow
        return answer

    return {
        (device, way)
        for device in DEVICES
        for way in REQUESTS
        if all(allowed(device, letter) for letter in way)
    }


@pytest.mark.parametrize(
    ("listed", "text"),
    [
        pytest.param([], "", id="deny-everything"),
        pytest.param([ALL], "a *:* rwm", id="allow-everything"),
        pytest.param([ALL, NONE], "", id="the-last-default-wins"),
        pytest.param([rule("+c 1:3 r"), rule("+c 1:3 w")], "c 1:3 rw", id="one-exception-a-device"),
        pytest.param([rule("+c 1:3 rwm"), rule("-c 1:3 w")], "c 1:3 rm", id="less-of-one"),
        pytest.param([rule("+c 1:3 rwm"), rule("-c 1:3 rwm")], "", id="nothing-of-one"),
        pytest.param([rule("+c 1:3 rw"), rule("-c 1:* w")], "c 1:3 r", id="a-wide-deny"),
        pytest.param([rule("+c 1:3 r"), rule("-c 1:3 w")], "c 1:3 r", id="deny-what-is-not-there"),
        pytest.param(
            [rule("+c *:* m"), rule("+c 1:3 rwm")], "c *:* m\nc 1:3 rwm", id="wide-and-narrow"
        ),
        pytest.param(
            [rule("+c 1:* r"), rule("+c *:3 w")],
            "c 1:* r\nc *:3 w\nc 1:3 rw",
            id="an-open-for-both-needs-one",
        ),
        pytest.param([rule("+b 8:0 r"), ALL, rule("-b 8:0 w")], "a *:* rwm", id="allow-but"),
    ],
)
def test_target(listed: list[DeviceRule], text: str) -> None:
    assert str(target(listed)) == text


@pytest.mark.parametrize(
    "listed",
    [
        pytest.param([rule("+c *:* rwm"), rule("-c 1:3 w")], id="deny-one-of-all"),
        pytest.param([rule("+c 1:* r"), rule("-c *:3 r")], id="deny-across"),
        pytest.param([ALL, rule("-c 1:* w"), rule("+c 1:3 w")], id="allow-one-of-the-denied"),
        pytest.param([rule("+c 1:3 rw"), rule("+c *:* w"), rule("-c 1:3 rw")], id="covered-twice"),
    ],
)
def test_holes_are_refused(listed: list[DeviceRule]) -> None:
    with pytest.raises(RequestError, match="would make a hole") as caught:
        target(listed)
    assert str(caught.value).endswith("name the devices one by one instead of by *")


@given(st.lists(st.one_of(rules, rules, rules, everything), max_size=6))
def test_the_table_permits_what_the_rules_mean(listed: list[DeviceRule]) -> None:
    try:
        table = target(listed)
    except RequestError:
        assume(False)
        raise
    assert permitted(table) == meaning(listed)


@pytest.mark.parametrize(
    "text",
    ["", "a *:* rwm", "c 1:3 rwm", "b *:* m\nc 5:* r\nc 1:3 rw"],
    ids=["nothing", "everything", "one", "three"],
)
def test_a_list_comes_back(text: str) -> None:
    assert str(parse_list(text)) == text


@pytest.mark.parametrize("text", ["c 1:3", "x", "c 1 rwm", "c a:3 r"])
def test_a_list_that_no_kernel_prints(text: str) -> None:
    with pytest.raises(ValueError, match=r"unpack|invalid literal"):
        parse_list(text)


tables = st.lists(rules, max_size=6).map(
    lambda listed: target([r.replace(allow=True) for r in listed])
)


@given(now=tables, wanted=tables)
def test_the_way_between_two_lists(now: Table, wanted: Table) -> None:
    """It ends at the list, denies nothing that both allow, and has no write too many."""
    steps = transition(now, wanted, exact=True)
    table, both = now, permitted(now) & permitted(wanted)
    for file, step in steps:
        before, table = table, after(table, None, file, step)
        assert table != before
        assert both <= permitted(table)
    assert table.exceptions == wanted.exceptions
    keys = {key for t in (now, wanted) for key in t.exceptions}
    assert len(steps) <= 2 * len(keys)
    assert transition(wanted, wanted, exact=True) == []


@given(now=tables, listed=st.lists(rules, max_size=4))
def test_the_way_to_a_default_of_allow_and_back(now: Table, listed: list[DeviceRule]) -> None:
    wanted = target([ALL, *(r.replace(allow=False) for r in listed)])
    there = now
    for file, step in transition(now, wanted, exact=True):
        there = after(there, None, file, step)
    assert there == wanted
    back = there
    for file, step in transition(Table(), now, exact=False):
        back = after(back, None, file, step)
    assert back.exceptions == now.exceptions
    assert not back.allow


def test_unseen_exceptions_take_a_new_default() -> None:
    denied = target([ALL, rule("-c 1:3 w")])
    assert transition(Table(), denied, exact=True) == [(DENY, rule("-c 1:3 w"))]
    assert transition(Table(), denied, exact=False) == [(ALLOW, ALL), (DENY, rule("-c 1:3 w"))]


@pytest.mark.parametrize(
    ("parent", "asked", "allowed"),
    [
        pytest.param("c 1:* rw", "+c 1:3 r", True, id="part"),
        pytest.param("c 1:* rw", "+c 1:3 rwm", False, id="more-letters"),
        pytest.param("c 1:3 rw", "+c 1:* r", False, id="more-devices"),
        pytest.param("c 1:3 r\nc 1:* w", "+c 1:3 rw", False, id="in-two-parts"),
        pytest.param("a *:* rwm", "+c 1:* r", True, id="everything"),
    ],
)
def test_granted(parent: str, asked: str, allowed: bool) -> None:
    assert granted(parse_list(parent), rule(asked)) == allowed


def test_writes_that_the_kernel_refuses() -> None:
    narrow = parse_list("c 1:3 rw")
    for step in (rule("+c 1:5 r"), ALL):
        with pytest.raises(OSError, match="not permitted") as caught:
            after(narrow, narrow, ALLOW, step)
        assert caught.value.errno == errno.EPERM
