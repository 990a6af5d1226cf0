"""The freezer: what to write; that it happened is asked elsewhere."""

from __future__ import annotations

import pytest

from cgmgr.controllers import freezer
from cgmgr.resources import Resources

from .saying import new, seen, written


@pytest.mark.parametrize(
    ("frozen", "v1", "v2"),
    [
        (None, [], []),
        (True, ["FROZEN > freezer.state"], ["1 > cgroup.freeze"]),
        (False, ["THAWED > freezer.state"], ["0 > cgroup.freeze"]),
    ],
    ids=["nothing", "freeze", "thaw"],
)
def test_writes(frozen: bool | None, v1: list[str], v2: list[str]) -> None:
    request = Resources(frozen=frozen)
    assert freezer.wants(request) == (frozen is not None)
    assert written(freezer.rows(request, new(1))) == v1
    assert written(freezer.rows(request, new(2))) == v2


@pytest.mark.parametrize(
    ("state", "asked", "undo"),
    [
        pytest.param("FREEZING", "1", "FROZEN", id="freezing"),
        pytest.param("FROZEN", "0", "THAWED", id="frozen-above"),
        pytest.param("THAWED", "0", "THAWED", id="thawed"),
    ],
)
def test_v1_undoes_to_what_was_asked(state: str, asked: str, undo: str) -> None:
    files = {"freezer.state": state, "freezer.self_freezing": asked}
    (row,) = freezer.rows(Resources(frozen=True), seen(1, files))
    assert row.undo == undo
    assert set(files) == set(freezer.observe(1))
