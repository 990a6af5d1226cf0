"""Memory: v1's two limits in terms of v2's, in an order in which memory <= memory+swap holds."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgmgr.controllers import memory
from cgmgr.controllers.base import Row
from cgmgr.errors import ControllerUnavailable, KernelError, LimitBelowUsage, RequestError
from cgmgr.resources import Memory, Resources
from cgmgr.units import MAX, Max

from .saying import new, nothing, seen, undone, written

UNLIMITED = "9223372036854771712"
LIMIT, MEMSW = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
V1 = {
    LIMIT: UNLIMITED,
    MEMSW: UNLIMITED,
    "memory.soft_limit_in_bytes": UNLIMITED,
    "memory.swappiness": "60",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3",
}
V2 = {
    "memory.max": "max",
    "memory.high": "max",
    "memory.low": "0",
    "memory.min": "0",
    "memory.swap.max": "max",
    "memory.oom.group": "0",
    "memory.current": "5000000",
}


@pytest.mark.parametrize(
    ("asked", "v1", "v2"),
    [
        pytest.param(Memory(), [], [], id="nothing"),
        pytest.param(Memory(max_bytes=4096), [f"4096 > {LIMIT}"], ["4096 > memory.max"], id="max"),
        pytest.param(Memory(max_bytes=MAX), [f"-1 > {LIMIT}"], ["max > memory.max"], id="lifted"),
        pytest.param(
            Memory(max_bytes=4096, swap_bytes=8192),
            [f"4096 > {LIMIT}", f"12288 > {MEMSW}"],
            ["8192 > memory.swap.max", "4096 > memory.max"],
            id="swap-alone-becomes-both",
        ),
        pytest.param(
            Memory(max_bytes=4096, swap_bytes=0),
            [f"4096 > {LIMIT}", f"4096 > {MEMSW}"],
            ["0 > memory.swap.max", "4096 > memory.max"],
            id="no-swap",
        ),
        pytest.param(
            Memory(max_bytes=4096, swap_bytes=MAX),
            [f"4096 > {LIMIT}", f"-1 > {MEMSW}"],
            ["max > memory.swap.max", "4096 > memory.max"],
            id="swap-lifted",
        ),
        pytest.param(Memory(high_bytes=MAX, low_bytes=0, min_bytes=0), [], None, id="v1-neutral"),
        pytest.param(Memory(oom_group=False), [], ["0 > memory.oom.group"], id="v1-one-by-one"),
        pytest.param(
            Memory(soft_limit_bytes=8192),
            ["8192 > memory.soft_limit_in_bytes"],
            ["8192 > memory.low"],
            id="soft",
        ),
        pytest.param(Memory(swappiness=10), ["10 > memory.swappiness"], None, id="swappiness"),
        pytest.param(Memory(oom_kill_disable=True), ["1 > memory.oom_control"], None, id="oom-off"),
        pytest.param(Memory(oom_kill_disable=False), ["0 > memory.oom_control"], [], id="oom-on"),
    ],
)
@pytest.mark.parametrize("fresh", [True, False], ids=["new", "seen"])
def test_writes(asked: Memory, v1: list[str], v2: list[str] | None, fresh: bool) -> None:
    request = Resources(memory=asked)
    assert memory.wants(request) == bool(asked)
    if fresh:
        parent_v1: dict[str, str | None] = {**V1}
        parent_v2: dict[str, str | None] = {**V2}
        first, second = new(1, parent_v1), new(2, parent_v2)
    else:
        first, second = seen(1, V1), seen(2, V2 | {"memory.current": "0"})
    assert written(memory.rows(request, first)) == v1
    if v2 is not None:
        assert written(memory.rows(request, second)) == v2


def test_v2_in_full() -> None:
    asked = Memory(
        max_bytes=8 << 20,
        high_bytes=7 << 20,
        low_bytes=2 << 20,
        min_bytes=1 << 20,
        soft_limit_bytes=3 << 20,
        oom_group=True,
    )
    assert written(memory.rows(Resources(memory=asked), new(2))) == [
        "1 > memory.oom.group",
        "1048576 > memory.min",
        "2097152 > memory.low",
        "7340032 > memory.high",
        "8388608 > memory.max",
    ]


@pytest.mark.parametrize(
    ("limits", "asked", "writes"),
    [
        pytest.param(
            ("4096", "8192"),
            Memory(max_bytes=16384),
            [f"20480 > {MEMSW}", f"16384 > {LIMIT}"],
            id="grow-beyond-memsw",
        ),
        pytest.param(
            ("4096", "16384"),
            Memory(max_bytes=8192),
            [f"8192 > {LIMIT}", f"20480 > {MEMSW}"],
            id="grow-within-memsw",
        ),
        pytest.param(
            ("8192", "12288"),
            Memory(max_bytes=4096),
            [f"4096 > {LIMIT}", f"8192 > {MEMSW}"],
            id="shrink",
        ),
        pytest.param(
            ("4096", "8192"),
            Memory(max_bytes=MAX),
            [f"-1 > {MEMSW}", f"-1 > {LIMIT}"],
            id="lift",
        ),
        pytest.param(
            ("4096", "8192"),
            Memory(max_bytes=16384, swap_bytes=0),
            [f"16384 > {MEMSW}", f"16384 > {LIMIT}"],
            id="grow-without-swap",
        ),
        pytest.param(
            ("4096", UNLIMITED), Memory(max_bytes=8192), [f"8192 > {LIMIT}"], id="no-memsw"
        ),
        pytest.param(("4096", "8192"), Memory(swap_bytes=0), [f"4096 > {MEMSW}"], id="swap-only"),
        pytest.param(("4096", "8192"), Memory(swap_bytes=MAX), [f"-1 > {MEMSW}"], id="swap-lifted"),
    ],
)
def test_v1_order(limits: tuple[str, str], asked: Memory, writes: list[str]) -> None:
    files = V1 | dict(zip((LIMIT, MEMSW), limits, strict=True))
    rows = memory.rows(Resources(memory=asked), seen(1, files))
    assert written(rows) == writes
    assert undone(rows, files) == {row.file: files[row.file] for row in rows}


values = st.one_of(st.just(MAX), st.integers(1, 40).map(lambda pages: pages * 4096))


class Model:
    """mem_cgroup_resize_max: memory <= memory+swap after every write."""

    def __init__(self, most: int, memsw: int) -> None:
        self.files = {LIMIT: most, MEMSW: memsw}

    def write(self, file: str, value: str) -> None:
        number = int(UNLIMITED) if value == "-1" else int(value)
        files = self.files | {file: number}
        assert files[LIMIT] <= files[MEMSW], f"{value} > {file} of {self.files}"
        self.files = files


@given(most=values, swap=values, new_most=st.none() | values, new_swap=st.none() | values)
def test_no_write_on_the_way_is_refused(
    most: int | Max, swap: int | Max, new_most: int | Max | None, new_swap: int | Max | None
) -> None:
    unlimited = int(UNLIMITED)
    was = most if isinstance(most, int) else unlimited
    model = Model(was, was + swap if isinstance(swap, int) and was != unlimited else unlimited)
    before = {file: str(number) for file, number in model.files.items()}
    request = Resources(memory=Memory(max_bytes=new_most, swap_bytes=new_swap))
    try:
        rows = memory.rows(request, seen(1, V1 | before))
    except RequestError:
        will = new_most if new_most is not None else most
        assert isinstance(new_swap, int)
        assert isinstance(will, Max)
        return
    for row in rows:
        model.write(row.file, row.value)
    if isinstance(new_swap, int):
        assert model.files[MEMSW] == model.files[LIMIT] + new_swap
    for row in reversed(rows):
        model.write(row.file, before[row.file])
    assert {file: str(number) for file, number in model.files.items()} == before


def test_more_than_v1_counts_is_said_of_memory() -> None:
    """What -m 9223372036854775807 asks for, with docker's default of as much swap."""
    most = (1 << 63) - 1
    with pytest.raises(RequestError, match=f"memory cannot be {most}: with as much swap") as caught:
        memory.rows(Resources(memory=Memory(max_bytes=most, swap_bytes=most)), new(1))
    assert caught.value.hint == "swap=max"


@pytest.mark.parametrize("fresh", [True, False], ids=["new", "seen"])
def test_swap_alone_needs_memory_on_v1(fresh: bool) -> None:
    scene = new(1) if fresh else seen(1, V1)
    for asked in (Memory(swap_bytes=0), Memory(swap_bytes=4096, max_bytes=MAX)):
        with pytest.raises(RequestError, match="memory has no limit"):
            memory.rows(Resources(memory=asked), scene)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        pytest.param(Memory(high_bytes=4096), "cannot throttle", id="high"),
        pytest.param(Memory(low_bytes=4096), "protects no memory", id="low"),
        pytest.param(Memory(min_bytes=MAX), "protects no memory", id="min"),
        pytest.param(Memory(oom_group=True), "one process at a time", id="oom_group"),
    ],
)
def test_v1_has_not(asked: Memory, why: str) -> None:
    with pytest.raises(ControllerUnavailable, match=why):
        memory.rows(Resources(memory=asked), new(1))


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        pytest.param(Memory(swappiness=60), "no swappiness by group", id="swappiness"),
        pytest.param(Memory(oom_kill_disable=True), "cannot switch the OOM killer off", id="oom"),
    ],
)
def test_v2_has_not(asked: Memory, why: str) -> None:
    with pytest.raises(ControllerUnavailable, match=why):
        memory.rows(Resources(memory=asked), new(2))


WITHOUT_SWAP = [
    pytest.param(seen(1, {**V1, MEMSW: None}), id="v1-seen"),
    pytest.param(new(1, {LIMIT: UNLIMITED, MEMSW: None}), id="v1-new"),
    pytest.param(seen(2, {**V2, "memory.swap.max": None}), id="v2-seen"),
]


@pytest.mark.parametrize("scene", WITHOUT_SWAP)
def test_without_swap_accounting(scene: object) -> None:
    from cgmgr.controllers.base import Scene

    assert isinstance(scene, Scene)
    lifted = Resources(memory=Memory(max_bytes=MAX, swap_bytes=MAX))
    assert [row.file for row in memory.rows(lifted, scene)] == [
        LIMIT if scene.version == 1 else "memory.max"
    ]
    for swap in (0, 4096):
        asked = Resources(memory=Memory(max_bytes=8 << 20, swap_bytes=swap))
        with pytest.raises(ControllerUnavailable, match="does not count swap") as caught:
            memory.rows(asked, scene)
        assert "swapaccount=1" in (caught.value.hint or "")


@pytest.mark.parametrize("version", [1, 2])
def test_a_new_group_may_turn_out_to_have_no_swap_file(version: int) -> None:
    asked = Resources(memory=Memory(max_bytes=4096, swap_bytes=MAX))
    (row,) = [row for row in memory.rows(asked, new(version)) if "sw" in row.file]
    assert row.alternative is not None
    assert (row.alternative.errno, row.alternative.rows) == (errno.ENOENT, ())


@pytest.mark.parametrize(
    ("held", "asked", "irreversible"),
    [
        pytest.param({"memory.max": "8000000"}, Memory(max_bytes=6_000_000), True, id="shrink"),
        pytest.param({}, Memory(max_bytes=6_000_000), True, id="first-limit"),
        pytest.param({"memory.max": "6000000"}, Memory(max_bytes=8_000_000), False, id="grow"),
        pytest.param({}, Memory(max_bytes=MAX), False, id="none"),
        pytest.param({}, Memory(high_bytes=4096), True, id="high"),
        pytest.param({}, Memory(low_bytes=4096), False, id="low"),
    ],
)
def test_v2_shrinking_cannot_be_taken_back(
    held: dict[str, str], asked: Memory, irreversible: bool
) -> None:
    (row,) = memory.rows(Resources(memory=asked), seen(2, V2 | held))
    assert bool(row.irreversible) == irreversible


def test_v2_below_usage_is_refused_before_anything() -> None:
    request = Resources(memory=Memory(max_bytes=4_999_999, swap_bytes=0))
    with pytest.raises(LimitBelowUsage) as caught:
        memory.rows(request, seen(2, V2))
    assert caught.value.used == 5_000_000
    assert "4.8MiB are in use" in str(caught.value)


def test_v2_what_is_held_already_is_no_shrink() -> None:
    files = V2 | {"memory.max": "4096"}
    rows = memory.rows(Resources(memory=Memory(max_bytes=4096)), seen(2, files))
    assert written(rows) == ["4096 > memory.max"]


def test_oom_control_is_undone_by_its_first_number() -> None:
    rows = memory.rows(Resources(memory=Memory(oom_kill_disable=True)), seen(1, V1))
    assert undone(rows, V1) == {"memory.oom_control": "0"}


@pytest.mark.parametrize(
    ("file", "usage"),
    [(LIMIT, "memory.usage_in_bytes"), (MEMSW, "memory.memsw.usage_in_bytes")],
)
def test_explain_busy(file: str, usage: str) -> None:
    row = Row(controller="memory", file=file, value="4096")
    error = memory.explain(KernelError("busy", errno=errno.EBUSY), row, {usage: "8192\n"}.get)
    assert isinstance(error, LimitBelowUsage)
    assert (error.used, error.errno) == (8192, errno.EBUSY)


def test_explain_the_rest() -> None:
    row = Row(controller="memory", file="memory.swappiness", value="150")
    error = memory.explain(KernelError("no", errno=errno.EINVAL), row, nothing)
    assert "kernels before 5.15" in str(error)
    other = KernelError("no", errno=errno.EINVAL)
    assert memory.explain(other, row.replace(value="100"), nothing) is other
    assert str(other) == "no"
    busy = KernelError("busy", errno=errno.EBUSY)
    assert memory.explain(busy, row, nothing) is busy
    limit = row.replace(file=LIMIT)
    assert memory.explain(other, limit, nothing) is other


@pytest.mark.parametrize("version", [1, 2])
def test_every_row_is_of_an_observed_file(version: int) -> None:
    asked = Memory(max_bytes=4096, swap_bytes=0, soft_limit_bytes=5, oom_kill_disable=False)
    rows = memory.rows(Resources(memory=asked), new(version))
    assert {row.file for row in rows} <= set(memory.observe(version))
