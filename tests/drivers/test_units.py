"""Groups' names as units, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgmgr.drivers import units
from cgmgr.errors import RequestError

NAMES = [
    ("x", "/cgmgr.slice/cgmgr-x.scope"),
    ("run-12-1", "/cgmgr.slice/cgmgr-run-12-1.scope"),
    ("a/x", "/cgmgr.slice/cgmgr-a.slice/cgmgr-a-x.scope"),
    ("a-b/x", "/cgmgr.slice/cgmgr-a\\x2db.slice/cgmgr-a\\x2db-x.scope"),
    ("/a/x", "/a.slice/a-x.scope"),
    ("/a/b/x", "/a.slice/a-b.slice/a-b-x.scope"),
    ("/x", "/x.scope"),
    ("b.slice", "/b.slice"),
    ("a-b.slice", "/a.slice/a-b.slice"),
    ("a-b.slice/x", "/a.slice/a-b.slice/a-b-x.scope"),
    ("/a.slice/a-b.slice/x", "/a.slice/a-b.slice/a-b-x.scope"),
    ("cgmgr.slice/cgmgr-x.scope", "/cgmgr.slice/cgmgr-x.scope"),
    ("y.scope", "/cgmgr.slice/y.scope"),
    ("ssh.service", "/system.slice/ssh.service"),
    ("/system.slice/ssh.service", "/system.slice/ssh.service"),
    ("a b", "/cgmgr.slice/cgmgr-a\\x20b.scope"),
    ("ü", "/cgmgr.slice/cgmgr-\\xc3\\xbc.scope"),
    ("x@y", "/cgmgr.slice/cgmgr-x\\x40y.scope"),
    ("/memory/x", "/_memory.slice/memory-x.scope"),
    ("/pids", "/_pids.scope"),
    ("system.slice:cgmgr:x", "/system.slice/cgmgr-x.scope"),
    ("a-b.slice:p:x", "/a.slice/a-b.slice/p-x.scope"),
    (":p:x", "/cgmgr.slice/p-x.scope"),
    ("system.slice::x", "/system.slice/x.scope"),
    ("-.slice:p:x", "/p-x.scope"),
    ("system.slice:p:a-b.slice", "/a.slice/a-b.slice"),
]


@pytest.mark.parametrize(("said", "group"), NAMES, ids=[said for said, _ in NAMES])
def test_what_is_said_has_one_meaning(said: str, group: str) -> None:
    assert units.full_name(said) == group


@pytest.mark.parametrize("group", [group for _, group in NAMES])
def test_a_full_name_means_itself_and_has_a_unit(group: str) -> None:
    assert units.full_name(group) == group
    assert units.unit_of(group).path == group
    assert units.full_name(units.shown(group)) == group


@pytest.mark.parametrize(
    "said",
    [
        "",
        "/",
        "a//b",
        "a/../b",
        ".",
        "a--b.slice",
        "-a.slice",
        "/b.slice/a-c.slice",
        "/a.slice/b/c.slice",
        "x" * 300,
        "system.slice:p:",
        "system:p:x",
        "-x.scope",
        "\x00",
        "a\nb.scope",
    ],
)
def test_what_no_unit_can_be_called_is_refused(said: str) -> None:
    with pytest.raises(RequestError, match="invalid group name"):
        units.full_name(said)


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=3), st.booleans())
def test_whatever_is_taken_is_named_for_good(parts: list[str], absolute: bool) -> None:
    said = "/" * absolute + "/".join(parts)
    try:
        group = units.full_name(said)
    except RequestError:
        return
    assert units.full_name(group) == group
    assert units.unit_of(group).path == group


@pytest.mark.parametrize(
    ("group", "shown"),
    [
        ("/cgmgr.slice/cgmgr-x.scope", "x"),
        ("/a.slice/a-x.scope", "/a.slice/a-x.scope"),
        ("/a.slice/a-b.slice", "a-b.slice"),
        ("/system.slice/ssh.service", "ssh.service"),
    ],
)
def test_the_shortest_name_that_means_it(group: str, shown: str) -> None:
    assert units.shown(group) == shown
