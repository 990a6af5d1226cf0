"""rdma and misc: tables with a line by device or resource, on both versions the same."""

from __future__ import annotations

import errno

import pytest

from cgmgr.controllers import misc, rdma
from cgmgr.controllers.base import Row
from cgmgr.controllers.compare import agree
from cgmgr.errors import KernelError, RequestError
from cgmgr.resources import MiscLimit, RdmaLimit, Resources
from cgmgr.units import MAX

from .saying import new, nothing, seen, written

HANDLES = Resources(rdma=(RdmaLimit(device="rxe0", hca_handle=2),))
BOTH = Resources(rdma=(RdmaLimit(device="rxe0", hca_handle=2, hca_object=MAX),))
SEV = Resources(misc=(MiscLimit(key="sev", max=5),))
PLENTY = Resources(misc=(MiscLimit(key="sev", max=MAX),))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("asked", "writes"),
    [
        (Resources(), []),
        (HANDLES, ["rxe0 hca_handle=2 > rdma.max"]),
        (BOTH, ["rxe0 hca_handle=2 hca_object=max > rdma.max"]),
    ],
    ids=["nothing", "one", "both"],
)
def test_rdma(version: int, asked: Resources, writes: list[str]) -> None:
    files = {"rdma.max": "mlx4_0 hca_handle=max hca_object=max\nrxe0 hca_handle=9 hca_object=8"}
    assert rdma.wants(asked) == bool(writes)
    assert written(rdma.rows(asked, new(version))) == writes
    rows = rdma.rows(asked, seen(version, files))
    assert written(rows) == writes
    for row in rows:
        assert row.undo == "rxe0 hca_handle=9 hca_object=8"
        assert agree(row.compare, row.value, "rxe0 hca_handle=2 hca_object=max")
        assert not agree(row.compare, row.value, "rxe0 hca_handle=3 hca_object=max")


def test_an_rdma_device_that_is_not_there() -> None:
    listed = {"rdma.max": "mlx4_0 hca_handle=max hca_object=max"}
    for scene in (seen(2, listed), new(2, listed)):
        with pytest.raises(RequestError, match="the rdma devices here are: mlx4_0"):
            rdma.rows(HANDLES, scene)
    with pytest.raises(RequestError, match="the rdma devices here are: none"):
        rdma.rows(HANDLES, seen(2, {"rdma.max": ""}))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("asked", "writes"),
    [(Resources(), []), (SEV, ["sev 5 > misc.max"]), (PLENTY, ["sev max > misc.max"])],
    ids=["nothing", "some", "lifted"],
)
def test_misc(version: int, asked: Resources, writes: list[str]) -> None:
    assert misc.wants(asked) == bool(writes)
    assert written(misc.rows(asked, new(version))) == writes
    rows = misc.rows(asked, seen(version, {"misc.max": "sev 7"}))
    assert written(rows) == writes
    for row in rows:
        assert row.undo == "sev 7"
        assert agree(row.compare, row.value, f"sev_es max\n{row.value}")


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(new(2, {"misc.capacity": "sev_es 5"}), id="below-the-root"),
        pytest.param(new(2, {"misc.max": "sev_es max"}), id="below-another"),
        pytest.param(seen(2, {"misc.max": "sev_es max"}), id="seen"),
    ],
)
def test_a_misc_resource_that_is_not_there(scene: object) -> None:
    from cgmgr.controllers.base import Scene

    assert isinstance(scene, Scene)
    with pytest.raises(RequestError, match="the resources here are: sev_es"):
        misc.rows(SEV, scene)


@pytest.mark.parametrize("module", [rdma, misc])
def test_explain(module: object) -> None:
    row = Row(controller="x", file="x.max", value="y 1")
    explain = rdma.explain if module is rdma else misc.explain
    assert "?" in str(explain(KernelError("no", errno=errno.EINVAL), row, nothing))
    assert str(explain(KernelError("no", errno=errno.EIO), row, nothing)) == "no"
    assert rdma.observe(1) == rdma.observe(2) == ("rdma.max",)
    assert misc.observe(1) == ("misc.max", "misc.capacity")
