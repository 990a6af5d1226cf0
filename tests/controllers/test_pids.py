"""Tasks: the file takes "max" on both versions."""

from __future__ import annotations

import pytest

from cgmgr.controllers import pids
from cgmgr.resources import Pids, Resources
from cgmgr.units import MAX, Max

from .saying import new, seen, written


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("most", "writes"),
    [(None, []), (1, ["1 > pids.max"]), (MAX, ["max > pids.max"])],
    ids=["nothing", "one", "lifted"],
)
def test_writes(version: int, most: int | Max | None, writes: list[str]) -> None:
    request = Resources(pids=Pids(max=most))
    assert pids.wants(request) == bool(writes)
    assert written(pids.rows(request, new(version))) == writes
    assert written(pids.rows(request, seen(version, {"pids.max": "5"}))) == writes
    assert pids.observe(version) == ("pids.max",)
