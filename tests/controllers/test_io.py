"""Block IO: the file of whichever scheduler there is, one write a limit, whole disks only."""

from __future__ import annotations

import errno

import pytest

from cgmgr.controllers import io
from cgmgr.controllers.base import Facts, Row, Scene
from cgmgr.errors import ControllerUnavailable, KernelError, RequestError
from cgmgr.resources import Io, IoDevice, Resources
from cgmgr.units import MAX

from .saying import new, nothing, seen, undone, written

BFQ_V1 = {"blkio.bfq.weight": "100", "blkio.bfq.weight_device": "default 100", "blkio.weight": None}
CFQ_V1 = {"blkio.bfq.weight": None, "blkio.weight": "500", "blkio.weight_device": ""}


def ask(**fields: object) -> Resources:
    return Resources(io=Io(devices=(IoDevice(device="8:0", **fields),)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scene", "writes"),
    [
        pytest.param(seen(1, BFQ_V1), ["540 > blkio.bfq.weight"], id="v1-bfq"),
        pytest.param(seen(1, CFQ_V1), ["540 > blkio.weight"], id="v1-cfq"),
        pytest.param(
            seen(1, BFQ_V1 | {"blkio.weight": "500"}),
            ["540 > blkio.bfq.weight", "540 > blkio.weight"],
            id="v1-both",
        ),
        pytest.param(
            seen(2, {"io.weight": "default 100", "io.bfq.weight": None}),
            ["4950 > io.weight"],
            id="v2-iocost",
        ),
        pytest.param(
            seen(2, {"io.weight": "default 100", "io.bfq.weight": "default 100"}),
            ["540 > io.bfq.weight", "4950 > io.weight"],
            id="v2-both",
        ),
    ],
)
def test_weight_of_a_group_that_is_there(scene: Scene, writes: list[str]) -> None:
    assert written(io.rows(Resources(io=Io(weight=4950)), scene)) == writes


@pytest.mark.parametrize(
    ("version", "file", "bfq"),
    [(1, "blkio.weight", "blkio.bfq.weight"), (2, "io.weight", "io.bfq.weight")],
)
def test_weight_of_a_new_group_finds_the_file(version: int, file: str, bfq: str) -> None:
    first, second = io.rows(Resources(io=Io(weight=100)), new(version))
    assert (first.file, second.file) == (file, bfq)
    assert first.alternative is not None
    (other,) = first.alternative.rows
    assert (first.alternative.errno, other.file, other.alternative) == (errno.ENOENT, bfq, None)
    assert second.alternative is not None
    assert (second.alternative.errno, second.alternative.rows) == (errno.ENOENT, ())


def test_weight_without_any_file() -> None:
    neither = seen(2, {"io.weight": None, "io.bfq.weight": None})
    for asked in (Resources(io=Io(weight=100)), ask(weight=100)):
        with pytest.raises(ControllerUnavailable, match=r"neither io\.bfq\.weight nor io\.weight"):
            io.rows(asked, neither)


@pytest.mark.parametrize(
    ("held", "undo"),
    [("default 200", "200"), ("200", "200"), ("default 200\n8:0 50", "200"), (None, None)],
)
def test_weight_is_undone_by_the_default(held: str | None, undo: str | None) -> None:
    rows = io.rows(Resources(io=Io(weight=100)), seen(2, {"io.weight": held, "io.bfq.weight": "1"}))
    assert rows[-1].undo == (undo if held else "1")


@pytest.mark.parametrize(
    ("device", "scene", "write"),
    [
        pytest.param("8:0", seen(1, BFQ_V1), "8:0 540 > blkio.bfq.weight_device", id="v1-bfq-only"),
        pytest.param("8:0", seen(1, CFQ_V1 | {"blkio.bfq.weight_device": None}),
                     "8:0 540 > blkio.weight_device", id="v1-cfq"),
        pytest.param("8:16", seen(2, {}), "8:16 540 > io.bfq.weight", id="v2-disk-with-bfq"),
        pytest.param("8:0", seen(2, {}), "8:0 4950 > io.weight", id="v2-disk-without-bfq"),
        pytest.param("8:16", seen(2, {"io.bfq.weight": None}), "8:16 4950 > io.weight",
                     id="v2-kernel-without-bfq"),
    ],
)  # fmt: skip
def test_device_weight(device: str, scene: Scene, write: str) -> None:
    files = {"blkio.weight_device": None} if scene.files == BFQ_V1 else {}
    scene = scene.replace(files={**scene.files, **files})
    asked = Resources(io=Io(devices=(IoDevice(device=device, weight=4950),)))
    (row,) = io.rows(asked, scene)
    assert written([row]) == [write]
    assert row.undo == f"{device} default"


def test_device_weight_of_a_new_group() -> None:
    (row,) = io.rows(ask(weight=100), new(1))
    assert row.file == "blkio.weight_device"
    assert row.alternative is not None
    assert [other.file for other in row.alternative.rows] == ["blkio.bfq.weight_device"]


RATES = {"rbps": 1, "wbps": 2, "riops": 3, "wiops": MAX}


@pytest.mark.parametrize("fresh", [True, False], ids=["new", "seen"])
def test_rates_v1(fresh: bool) -> None:
    files = {"blkio.throttle.read_bps_device": "8:0 7\n8:16 9"}
    rows = io.rows(ask(**RATES), new(1) if fresh else seen(1, files))
    assert written(rows) == [
        "8:0 1 > blkio.throttle.read_bps_device",
        "8:0 2 > blkio.throttle.write_bps_device",
        "8:0 3 > blkio.throttle.read_iops_device",
        "8:0 0 > blkio.throttle.write_iops_device",
    ]
    if not fresh:
        assert undone(rows, files) == {
            "blkio.throttle.read_bps_device": "8:0 7",
            "blkio.throttle.write_bps_device": "8:0 0",
            "blkio.throttle.read_iops_device": "8:0 0",
            "blkio.throttle.write_iops_device": "8:0 0",
        }


def test_rates_v2_one_write_each() -> None:
    files = {"io.max": "8:0 rbps=7 wbps=max riops=max wiops=5"}
    rows = io.rows(ask(**RATES), seen(2, files))
    assert written(rows) == [
        "8:0 rbps=1 > io.max",
        "8:0 wbps=2 > io.max",
        "8:0 riops=3 > io.max",
        "8:0 wiops=max > io.max",
    ]
    assert [row.undo for row in rows] == [
        "8:0 rbps=7",
        "8:0 wbps=max",
        "8:0 riops=max",
        "8:0 wiops=5",
    ]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("count", "fits"), [((1 << 32) - 2, True), ((1 << 32) - 1, False)])
def test_operations_are_32_bits(version: int, count: int, fits: bool) -> None:
    if fits:
        assert str(count) in io.rows(ask(riops=count), new(version))[0].value
    else:
        with pytest.raises(RequestError, match="counts operations up to 4294967294"):
            io.rows(ask(riops=count), new(version))


def test_latency() -> None:
    files = {"io.latency": "8:0 target=75"}
    (row,) = io.rows(ask(latency_us=100), seen(2, files))
    assert (written([row]), row.undo) == (["8:0 target=100 > io.latency"], "8:0 target=75")
    (row,) = io.rows(ask(latency_us=0), seen(2, {"io.latency": ""}))
    assert (row.value, row.undo) == ("8:0 target=0", "8:0 target=0")
    assert row.alternative is None
    assert io.rows(ask(latency_us=0), new(1)) == []
    assert io.rows(ask(latency_us=0), seen(2, {"io.latency": None})) == []
    (row,) = io.rows(ask(latency_us=0), new(2))
    assert row.alternative is not None


@pytest.mark.parametrize(
    ("scene", "why"),
    [
        pytest.param(new(1), "v1 has no latency targets", id="v1"),
        pytest.param(seen(2, {"io.latency": None}), "CONFIG_BLK_CGROUP_IOLATENCY", id="v2"),
    ],
)
def test_no_latency(scene: Scene, why: str) -> None:
    with pytest.raises(ControllerUnavailable, match=why):
        io.rows(ask(latency_us=100), scene)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        pytest.param("8:1", "sda1 is a part of the disk 8:0 (sda)", id="partition"),
        pytest.param("9:9", "the disks here are 8:0 (sda), 8:16 (sdb)", id="unknown"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_whole_disks_only(number: str, message: str, version: int) -> None:
    asked = Resources(io=Io(devices=(IoDevice(device=number, rbps=1),)))
    with pytest.raises(RequestError) as caught:
        io.rows(asked, new(version))
    assert str(caught.value) == f"io device cannot be {number}: {message}"


def test_where_no_disk_is_known_the_kernel_decides() -> None:
    scene = new(2).replace(facts=Facts())
    assert written(io.rows(ask(rbps=1), scene)) == ["8:0 rbps=1 > io.max"]


@pytest.mark.parametrize(
    ("number", "file", "words"),
    [
        pytest.param(errno.EOPNOTSUPP, "io.weight", "disk 8:0 has no weights", id="no-bfq"),
        pytest.param(errno.ENODEV, "io.max", "no such disk", id="no-disk"),
        pytest.param(errno.EINVAL, "blkio.weight", "from 10 to 1000", id="cfq"),
        pytest.param(errno.EINVAL, "io.max", "refused", id="other"),
    ],
)
def test_explain(number: int, file: str, words: str) -> None:
    row = Row(controller="io", file=file, value="8:0 5")
    explained = str(io.explain(KernelError("refused", errno=number), row, nothing))
    assert words in explained
    assert (explained == "refused") == (words == "refused")


@pytest.mark.parametrize("version", [1, 2])
def test_every_row_is_of_an_observed_file(version: int) -> None:
    asked = Resources(io=Io(weight=5, devices=(IoDevice(device="8:0", weight=5, **RATES),)))  # type: ignore[arg-type]
    assert io.wants(asked)
    assert {row.file for row in io.rows(asked, new(version))} <= set(io.observe(version))
