"""CPU: which files, and in which order, so that the kernel accepts each write and its undoing."""

from __future__ import annotations

import errno
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgmgr.controllers import cpu
from cgmgr.controllers.base import Alternative, Row
from cgmgr.errors import ControllerUnavailable, KernelError, RequestError
from cgmgr.resources import Cpu, Resources
from cgmgr.units import MAX, Max

from .saying import new, seen, undone, written

V1 = {
    "cpu.shares": "1024",
    "cpu.cfs_quota_us": "-1",
    "cpu.cfs_period_us": "100000",
    "cpu.cfs_burst_us": "0",
    "cpu.idle": "0",
    "cpu.rt_period_us": "1000000",
    "cpu.rt_runtime_us": "0",
}
V2 = {"cpu.weight": "100", "cpu.max": "max 100000", "cpu.max.burst": "0", "cpu.idle": "0"}


@pytest.mark.parametrize(
    ("asked", "v1", "v2"),
    [
        pytest.param(Cpu(), [], [], id="nothing"),
        pytest.param(Cpu(weight=100), ["1024 > cpu.shares"], ["100 > cpu.weight"], id="weight"),
        pytest.param(
            Cpu(weight=59, shares=512), ["512 > cpu.shares"], ["59 > cpu.weight"], id="shares"
        ),
        pytest.param(
            Cpu(quota_us=50_000), ["50000 > cpu.cfs_quota_us"], ["50000 > cpu.max"], id="quota"
        ),
        pytest.param(Cpu(quota_us=MAX), ["-1 > cpu.cfs_quota_us"], ["max > cpu.max"], id="lifted"),
        pytest.param(
            Cpu(period_us=20_000),
            ["20000 > cpu.cfs_period_us"],
            ["max 20000 > cpu.max"],
            id="period-keeps-the-quota",
        ),
        pytest.param(
            Cpu(quota_us=50_000, period_us=200_000),
            ["200000 > cpu.cfs_period_us", "50000 > cpu.cfs_quota_us"],
            ["50000 200000 > cpu.max"],
            id="growing-period-first",
        ),
        pytest.param(
            Cpu(quota_us=5_000, period_us=10_000),
            ["10000 > cpu.cfs_period_us", "5000 > cpu.cfs_quota_us"],
            ["5000 10000 > cpu.max"],
            id="without-a-quota-any-period-goes",
        ),
        pytest.param(
            Cpu(quota_us=50_000, burst_us=20_000),
            ["20000 > cpu.cfs_burst_us", "50000 > cpu.cfs_quota_us"],
            ["20000 > cpu.max.burst", "50000 > cpu.max"],
            id="burst",
        ),
        pytest.param(Cpu(idle=True), ["1 > cpu.idle"], ["1 > cpu.idle"], id="idle"),
        pytest.param(Cpu(idle=False), ["0 > cpu.idle"], ["0 > cpu.idle"], id="not-idle"),
        pytest.param(
            Cpu(weight=1, idle=False, quota_us=1000),
            ["0 > cpu.idle", "2 > cpu.shares", "1000 > cpu.cfs_quota_us"],
            ["0 > cpu.idle", "1 > cpu.weight", "1000 > cpu.max"],
            id="everything",
        ),
    ],
)
@pytest.mark.parametrize("fresh", [True, False], ids=["new", "seen"])
def test_writes(asked: Cpu, v1: list[str], v2: list[str], fresh: bool) -> None:
    request = Resources(cpu=asked)
    assert cpu.wants(request) == bool(asked)
    assert written(cpu.rows(request, new(1) if fresh else seen(1, V1))) == v1
    assert written(cpu.rows(request, new(2) if fresh else seen(2, V2))) == v2


@pytest.mark.parametrize("version", [1, 2])
def test_every_row_is_of_an_observed_file(version: int) -> None:
    everything = Cpu(weight=5, quota_us=5000, period_us=9000, burst_us=1, idle=False)
    rows = cpu.rows(Resources(cpu=everything), new(version))
    assert {row.file for row in rows} <= set(cpu.observe(version))


@pytest.mark.parametrize(
    ("held", "asked", "writes"),
    [
        pytest.param(
            "5000 10000",
            Cpu(quota_us=100_000, period_us=200_000),
            ["200000 > cpu.cfs_period_us", "100000 > cpu.cfs_quota_us"],
            id="both-grow",
        ),
        pytest.param(
            "100000 200000",
            Cpu(quota_us=5000, period_us=10_000),
            ["5000 > cpu.cfs_quota_us", "10000 > cpu.cfs_period_us"],
            id="both-shrink",
        ),
    ],
)
def test_a_child_may_need_more_than_there_is_in_between(
    held: str, asked: Cpu, writes: list[str]
) -> None:
    quota, period = held.split()
    files = V1 | {"cpu.cfs_quota_us": quota, "cpu.cfs_period_us": period}
    request = Resources(cpu=asked)
    assert written(cpu.rows(request, seen(1, files))) == writes
    rows = cpu.rows(request, seen(1, files, children=("child",)))
    lifted = [
        "-1 > cpu.cfs_quota_us",
        *sorted(writes, key=lambda write: "quota" in write),
    ]
    assert written(rows) == lifted
    assert rows[-1].undo == "-1"
    assert undone(rows, files) == {"cpu.cfs_quota_us": quota, "cpu.cfs_period_us": period}


@pytest.mark.parametrize(
    ("held", "asked", "writes"),
    [
        pytest.param("max 100000", Cpu(quota_us=20_000), ["20000 > cpu.max"], id="quota-alone"),
        pytest.param("5000 10000", Cpu(quota_us=20_000), ["20000 > cpu.max"], id="period-stays"),
        pytest.param(
            "5000 10000", Cpu(period_us=20_000), ["5000 20000 > cpu.max"], id="quota-stays"
        ),
        pytest.param("5000 10000", Cpu(quota_us=MAX), ["max > cpu.max"], id="lifted"),
    ],
)
def test_v2_leaves_the_other_half_alone(held: str, asked: Cpu, writes: list[str]) -> None:
    assert written(cpu.rows(Resources(cpu=asked), seen(2, V2 | {"cpu.max": held}))) == writes


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("quota", "burst", "asked", "order"),
    [
        pytest.param(
            10_000, 0, Cpu(quota_us=50_000, burst_us=20_000), ["quota", "burst"], id="grow"
        ),
        pytest.param(
            50_000, 20_000, Cpu(quota_us=10_000, burst_us=5000), ["burst", "quota"], id="shrink"
        ),
        pytest.param(None, 9000, Cpu(quota_us=9500, burst_us=9200), ["burst", "quota"], id="limit"),
        pytest.param(50_000, 9, Cpu(quota_us=MAX, burst_us=90_000), ["quota", "burst"], id="lift"),
    ],
)
def test_burst_never_above_quota(
    version: int, quota: int | None, burst: int, asked: Cpu, order: list[str]
) -> None:
    shown = "-1" if quota is None else str(quota)
    files = {
        1: V1 | {"cpu.cfs_quota_us": shown, "cpu.cfs_burst_us": str(burst)},
        2: V2 | {"cpu.max": f"{quota or 'max'} 100000", "cpu.max.burst": str(burst)},
    }[version]
    rows = cpu.rows(Resources(cpu=asked), seen(version, files))
    assert ["burst" if "burst" in row.file else "quota" for row in rows] == order


@pytest.mark.parametrize(
    ("files", "asked", "message"),
    [
        pytest.param(
            {"cpu.cfs_burst_us": "9000", "cpu.cfs_quota_us": "9000"},
            Cpu(quota_us=8000),
            "cpu_quota cannot be 8000: the burst is 9000",
            id="quota-below-the-burst-there-is",
        ),
        pytest.param(
            {"cpu.cfs_quota_us": "9000"},
            Cpu(burst_us=9001),
            "cpu_burst cannot be 9001: the quota is 9000",
            id="burst-above-the-quota-there-is",
        ),
        pytest.param(
            {},
            Cpu(rt_runtime_us=1_000_001),
            "cpu_rt_runtime cannot be 1000001: the period is 1000000",
            id="realtime-above-its-period",
        ),
        pytest.param(
            {"cpu.rt_runtime_us": "5000"},
            Cpu(rt_period_us=4000),
            "cpu_rt_runtime cannot be 5000: the period is 4000",
            id="period-below-the-runtime-there-is",
        ),
    ],
)
def test_refused(files: dict[str, str], asked: Cpu, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        cpu.rows(Resources(cpu=asked), seen(1, V1 | files))
    assert message in str(caught.value)


def test_a_kernel_without_realtime_is_said_before_the_value() -> None:
    files = V1 | {"cpu.rt_runtime_us": None, "cpu.rt_period_us": None}
    with pytest.raises(ControllerUnavailable, match="cpu_rt_runtime cannot be held here: this k"):
        cpu.rows(Resources(cpu=Cpu(rt_runtime_us=2_000_000)), seen(1, files))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        pytest.param(Cpu(quota_us=400_000), "", id="all"),
        pytest.param(
            Cpu(quota_us=400_001), "cpus cannot be 4.00001 CPUs: this machine has 4", id="more"
        ),
        pytest.param(Cpu(quota_us=80_000, period_us=20_000), "", id="all-of-a-period"),
        pytest.param(Cpu(quota_us=80_000, period_us=10_000), "cpus cannot be 8", id="period"),
        pytest.param(Cpu(period_us=10_000), "cpus cannot be 5", id="period-alone"),
        pytest.param(Cpu(quota_us=MAX, period_us=10_000), "", id="lifted"),
        pytest.param(Cpu(weight=5), "", id="nothing-of-it"),
    ],
)
def test_no_more_cpus_than_there_are(version: int, asked: Cpu, message: str) -> None:
    files = {"cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000", "cpu.max": "50000 100000"}
    scene = seen(version, (V1 if version == 1 else V2) | files)
    if not message:
        cpu.rows(Resources(cpu=asked), scene)
        return
    with pytest.raises(RequestError) as caught:
        cpu.rows(Resources(cpu=asked), scene)
    assert str(caught.value).startswith(message)
    assert caught.value.hint == "cpus=4"


@pytest.mark.parametrize("version", [1, 2])
def test_cpus_that_went_away_are_no_mistake_of_what_is_held(version: int) -> None:
    files = {
        "cpu.cfs_quota_us": "800000",
        "cpu.cfs_period_us": "100000",
        "cpu.max": "800000 100000",
    }
    asked = Cpu(quota_us=800_000, period_us=100_000)
    assert cpu.rows(Resources(cpu=asked), seen(version, files))


@pytest.mark.parametrize("asked", [Cpu(rt_runtime_us=5), Cpu(rt_period_us=5)])
def test_v2_has_no_realtime(asked: Cpu) -> None:
    with pytest.raises(ControllerUnavailable, match="cgroup v2 has no realtime groups"):
        cpu.rows(Resources(cpu=asked), new(2))


@pytest.mark.parametrize(
    ("asked", "order"),
    [
        pytest.param(
            Cpu(rt_runtime_us=5, rt_period_us=2_000_000), ["period", "runtime"], id="grow"
        ),
        pytest.param(
            Cpu(rt_runtime_us=5, rt_period_us=500_000), ["runtime", "period"], id="shrink"
        ),
        pytest.param(Cpu(rt_runtime_us=MAX), ["runtime"], id="lifted"),
    ],
)
def test_realtime(asked: Cpu, order: list[str]) -> None:
    rows = cpu.rows(Resources(cpu=asked), seen(1, V1))
    assert [row.file.split("_")[1] for row in rows] == order


@pytest.mark.parametrize("version", [1, 2])
def test_idle_keeps_the_weight_for_the_way_back(version: int) -> None:
    files = {1: V1 | {"cpu.shares": "700"}, 2: V2 | {"cpu.weight": "300"}}[version]
    rows = cpu.rows(Resources(cpu=Cpu(idle=True)), seen(version, files))
    assert [row.file for row in rows] == [cpu.WEIGHTS[version][0], "cpu.idle"]
    assert undone(rows, files) == {row.file: files[row.file] for row in rows}


@pytest.mark.parametrize(("version", "default"), [(1, "1024"), (2, "100")])
def test_a_weight_ends_idle(version: int, default: str) -> None:
    files = {1: V1 | {"cpu.shares": "3"}, 2: V2 | {"cpu.weight": "0"}}[version] | {"cpu.idle": "1"}
    rows = cpu.rows(Resources(cpu=Cpu(weight=200)), seen(version, files))
    assert [row.file for row in rows] == ["cpu.idle", cpu.WEIGHTS[version][0]]
    assert rows[1].undo == default  # an idle group prints a weight that it does not take
    assert undone(rows, files)["cpu.idle"] == "1"


@pytest.mark.parametrize(
    ("asked", "lacking", "writes"),
    [
        pytest.param(Cpu(idle=False), "cpu.idle", [], id="not-idle"),
        pytest.param(Cpu(burst_us=0), "cpu.cfs_burst_us", [], id="no-burst"),
        pytest.param(Cpu(quota_us=MAX), "cpu.cfs_quota_us", [], id="no-quota"),
    ],
)
def test_what_an_old_kernel_does_anyway(asked: Cpu, lacking: str, writes: list[str]) -> None:
    request = Resources(cpu=asked)
    assert written(cpu.rows(request, seen(1, {**V1, lacking: None}))) == writes
    (row,) = cpu.rows(request, new(1))
    assert row.alternative is not None
    assert (row.alternative.errno, row.alternative.rows) == (errno.ENOENT, ())


@pytest.mark.parametrize(
    ("asked", "lacking", "why"),
    [
        pytest.param(Cpu(idle=True), "cpu.idle", "Linux 5.15", id="idle"),
        pytest.param(Cpu(burst_us=5), "cpu.cfs_burst_us", "Linux 5.14", id="burst"),
        pytest.param(Cpu(quota_us=5000), "cpu.cfs_quota_us", "CONFIG_CFS_BANDWIDTH", id="quota"),
    ],
)
def test_what_an_old_kernel_cannot(asked: Cpu, lacking: str, why: str) -> None:
    request = Resources(cpu=asked)
    with pytest.raises(ControllerUnavailable, match=why):
        cpu.rows(request, seen(1, {**V1, lacking: None}))
    assert cpu.rows(request, new(1))[0].alternative is None


@pytest.mark.parametrize(
    ("file", "number", "words"),
    [
        pytest.param(
            "cpu.cfs_quota_us", errno.EINVAL, "a group above has a smaller share", id="quota"
        ),
        pytest.param("cpu.max", errno.EINVAL, "a group above has a smaller share", id="max"),
        pytest.param("cpu.rt_runtime_us", errno.EINVAL, "has 0 of 1000000", id="realtime"),
        pytest.param("cpu.shares", errno.EINVAL, "refused", id="weight"),
        pytest.param("cpu.cfs_quota_us", errno.EIO, "refused", id="another-errno"),
    ],
)
def test_explain(file: str, number: int, words: str) -> None:
    error = KernelError("refused", errno=number, path=f"/sys/fs/cgroup/cpu/a/b/{file}")
    explained = cpu.explain(error, Row(controller="cpu", file=file, value="5"), V1.get)
    assert explained is error
    assert words in str(explained)
    assert (str(explained) == "refused") == (words == "refused")
    asked = "{above} cpu_rt_runtime=5us"
    hint = f"cgmgr group set {asked} || cgmgr group create {asked}" if "rt_" in file else None
    assert explained.hint == hint


# -- the constraint as a model: every write on the way, and on the way back, must be accepted

SHARES = [Fraction(1, 4), Fraction(1, 2), Fraction(1), Fraction(2)]
PERIODS = [5000, 10_000, 100_000, 400_000]


class Model:
    """tg_set_cfs_bandwidth between a parent with two CPUs and a child with a quarter."""

    def __init__(self, quota: int | Max, period: int, burst: int) -> None:
        self.files = {
            "cpu.cfs_quota_us": "-1" if isinstance(quota, Max) else str(quota),
            "cpu.cfs_period_us": str(period),
            "cpu.cfs_burst_us": str(burst),
        }

    def write(self, file: str, value: str) -> None:
        files = self.files | {file: value}
        quota, period, burst = (int(files[name]) for name in files)
        if quota >= 0:
            share = Fraction(quota, period)
            assert Fraction(1, 4) <= share <= 2, f"{value} > {file} of {self.files}"
            assert burst <= quota, f"{value} > {file} of {self.files}"
        self.files = files


bandwidths = st.tuples(
    st.one_of(st.just(MAX), st.sampled_from(SHARES)),
    st.sampled_from(PERIODS),
    st.sampled_from([0, 500, 1250]),
).map(lambda b: (b[0] if isinstance(b[0], Max) else int(b[0] * b[1]), b[1], b[2]))


@given(was=bandwidths, will=bandwidths)
def test_no_write_on_the_way_is_refused(
    was: tuple[int | Max, int, int], will: tuple[int | Max, int, int]
) -> None:
    model = Model(*was)
    quota, period, burst = will
    request = Resources(cpu=Cpu(quota_us=quota, period_us=period, burst_us=burst))
    before = dict(model.files)
    rows = cpu.rows(request, seen(1, V1 | before, children=("child",)))
    for row in rows:
        model.write(row.file, row.value)
    assert model.files == Model(*will).files
    for row in reversed(rows):
        model.write(row.file, row.undo if row.undo is not None else before[row.file])
    assert model.files == before


def test_alternatives_are_only_for_new_groups() -> None:
    everything = Cpu(weight=5, quota_us=MAX, period_us=9000, burst_us=0, idle=False)
    for version, files in ((1, V1), (2, V2)):
        rows = cpu.rows(Resources(cpu=everything), seen(version, files))
        assert not any(isinstance(row.alternative, Alternative) for row in rows)
