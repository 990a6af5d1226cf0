"""Parsers: what kernels print, and what vendors made of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgmgr import parse
from cgmgr.units import MAX, format_id_list, parse_id_list

HOSTS = Path(__file__).parent / "hosts"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("max\n", MAX, id="max"),
        pytest.param("0\n", 0, id="zero"),
        pytest.param("67108864\n", 67108864, id="number"),
        pytest.param("9223372036854771712\n", MAX, id="v1-unlimited"),
        pytest.param("9223372036852678656\n", MAX, id="v1-unlimited-in-huge-pages"),
        pytest.param("9223372036854710272\n", MAX, id="v1-unlimited-in-64k-pages"),
    ],
)
def test_limit(text: str, value: object) -> None:
    assert parse.limit(text) == value


@pytest.mark.parametrize("text", ["", "infinity", "12 34", "-"])
def test_limit_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        parse.limit(text)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        pytest.param("", {}, id="empty"),
        pytest.param("a 1\nb 2\n", {"a": 1, "b": 2}, id="plain"),
        pytest.param("max 0", {"max": 0}, id="without-newline"),
        pytest.param("a 1\nb max\nc 3\n", {"a": 1, "c": 3}, id="no-number"),
        pytest.param("a 1\nvendor\nc 3\n", {"a": 1, "c": 3}, id="no-value"),
        pytest.param("a 1\nb 2 3\nc 3\n", {"a": 1, "c": 3}, id="more-words"),
        pytest.param("a\nb 1 2\nc 3\n", {"c": 3}, id="words-that-add-up"),
        pytest.param("slack -5\n", {"slack": -5}, id="negative"),
    ],
)
def test_flat_keyed(text: str, values: dict[str, int]) -> None:
    assert parse.flat_keyed(text) == values


@given(st.dictionaries(st.from_regex(r"[a-z_.]{1,9}", fullmatch=True), st.integers(0, 1 << 64)))
def test_flat_keyed_is_what_was_printed(values: dict[str, int]) -> None:
    text = "".join(f"{key} {value}\n" for key, value in values.items())
    assert parse.flat_keyed(text) == values
    assert parse.flat_keyed(text + "vendor's own line\n") == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        pytest.param("", {}, id="empty"),
        pytest.param(
            "8:0 rbytes=1 wbytes=2\n8:16 rbytes=3\n",
            {"8:0": {"rbytes": 1, "wbytes": 2}, "8:16": {"rbytes": 3}},
            id="io.stat",
        ),
        pytest.param("8:0 \n7:0\n", {"8:0": {}, "7:0": {}}, id="no-pairs"),
        pytest.param(
            "8:0 rbps=max wbps=5 riops=max wiops=max",
            {"8:0": {"rbps": MAX, "wbps": 5, "riops": MAX, "wiops": MAX}},
            id="io.max",
        ),
        pytest.param(
            "8:0 cost.vrate=100.00 cost.usage=7", {"8:0": {"cost.usage": 7}}, id="decimal"
        ),
        pytest.param("\n", {}, id="blank-line"),
    ],
)
def test_nested_keyed(text: str, values: dict[str, dict[str, object]]) -> None:
    assert parse.nested_keyed(text) == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        pytest.param("sev 5\nsev_es max\n", {"sev": 5, "sev_es": MAX}, id="misc.max"),
        pytest.param("sev\nres_a x\n 7\n", {}, id="nonsense"),
    ],
)
def test_keyed_limits(text: str, values: dict[str, object]) -> None:
    assert parse.keyed_limits(text) == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        pytest.param("cpu user system\n0 5 7\n1 9 11\n", ((5, 9), (7, 11)), id="plain"),
        pytest.param(
            "cpu user system waits\n0 5 7 1 2\n1 9 11 3 4\n", ((5, 9), (7, 11)), id="patched-kernel"
        ),
        pytest.param("cpu user system\n", ((), ()), id="no-cpu"),
    ],
)
def test_usage_all(text: str, values: object) -> None:
    assert parse.usage_all(text) == values


@pytest.mark.parametrize("text", ["", "cpu system user\n0 1 2\n", "0 1 2\n"])
def test_usage_all_of_unknown_columns(text: str) -> None:
    with pytest.raises(ValueError, match="unknown columns"):
        parse.usage_all(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("max 100000\n", (MAX, 100_000), id="no-quota"),
        pytest.param("50000 20000\n", (50_000, 20_000), id="quota"),
    ],
)
def test_cpu_max(text: str, value: object) -> None:
    assert parse.cpu_max(text) == value


@pytest.mark.parametrize(
    ("text", "values"),
    [
        pytest.param("total=7 N0=3 N1=4\n", {"total": {0: 3, 1: 4}}, id="v1"),
        pytest.param("anon N0=8192 N1=0\n", {"anon": {0: 8192, 1: 0}}, id="v2"),
        pytest.param("total=7 N0=7\nvendor line\nx=1\n", {"total": {0: 7}}, id="vendor-lines"),
    ],
)
def test_numa_stat(text: str, values: object) -> None:
    assert parse.numa_stat(text) == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        pytest.param(
            "some avg10=0.00 avg60=1.50 avg300=0.20 total=12345\n"
            "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
            {"some": (0.0, 1.5, 0.2, 12345), "full": (0.0, 0.0, 0.0, 0)},
            id="both",
        ),
        pytest.param(
            "some avg10=100.00 avg60=1.50 avg300=0.20 total=1\n",
            {"some": (100.0, 1.5, 0.2, 1)},
            id="cpu-before-5.13",
        ),
        pytest.param("", {}, id="empty"),
    ],
)
def test_pressure(text: str, values: object) -> None:
    assert parse.pressure(text) == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        pytest.param("Total 0\n", {}, id="nothing-yet"),
        pytest.param(
            "8:0 Read 4096\n8:0 Write 0\n8:0 Total 4096\nTotal 4096\n",
            {"8:0": {"Read": 4096, "Write": 0, "Total": 4096}},
            id="one-disk",
        ),
        pytest.param("8:0 57\n", {}, id="no-operation"),
    ],
)
def test_blkio(text: str, values: object) -> None:
    assert parse.blkio(text) == values


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        pytest.param(parse.cpu_max, "max", id="cpu_max"),
        pytest.param(parse.pressure, "some avg10=0.00", id="pressure"),
        pytest.param(parse.pressure, "some a b c d", id="pressure-words"),
        pytest.param(parse.numbers, "1 x", id="numbers"),
        pytest.param(parse.usage_all, "cpu user system\n0 x 1", id="usage_all"),
    ],
)
def test_what_no_kernel_prints_is_a_value_error(parser: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ValueError):
        parser(text)


@given(st.sets(st.integers(0, 300)))
def test_id_lists_come_back(ids: set[int]) -> None:
    assert parse_id_list(format_id_list(ids)) == tuple(sorted(ids))


@pytest.mark.parametrize(
    "parser",
    [
        parse.flat_keyed,
        parse.nested_keyed,
        parse.keyed_limits,
        parse.numa_stat,
        parse.blkio,
        parse.mountinfo,
    ],
    ids=lambda parser: parser.__name__,
)
@given(text=st.text(alphabet="az019 =:.\n-Nmaxtol", max_size=60))
def test_tolerant_parsers_take_any_text(parser: Callable[[str], Any], text: str) -> None:
    parser(text)


TALK_MOUNTINFO = (
    "36 25 0:31 / /sys/fs/cgroup/memory rw,nosuid shared:9 master:1 - cgroup cgroup rw,memory\n"
    r"37 25 0:32 /docker/a\040b /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct"
    "\n"
    "38 25 0:33 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
    "short line\n"
)


def test_mountinfo() -> None:
    memory, cpu, unified = parse.mountinfo(TALK_MOUNTINFO)
    assert (memory.fstype, memory.super_options) == ("cgroup", ("rw", "memory"))
    assert (cpu.root, cpu.options) == ("/docker/a b", ("ro",))
    assert (unified.mountpoint, unified.fstype) == ("/sys/fs/cgroup", "cgroup2")


@pytest.mark.parametrize(
    ("line", "controllers", "path", "deleted"),
    [
        pytest.param("0::/a/b", (), "/a/b", False, id="v2"),
        pytest.param("3:cpu,cpuacct:/docker/x", ("cpu", "cpuacct"), "/docker/x", False, id="v1"),
        pytest.param("1:name=systemd:/", ("name=systemd",), "/", False, id="named"),
        pytest.param("0::/with:colon", (), "/with:colon", False, id="colon"),
        pytest.param("0::/gone (deleted)", (), "/gone", True, id="removed"),
    ],
)
def test_proc_cgroup(line: str, controllers: tuple[str, ...], path: str, deleted: bool) -> None:
    (membership,) = parse.proc_cgroup(line + "\nnonsense\n")
    assert membership.controllers == controllers
    assert (membership.path, membership.deleted) == (path, deleted)


IN_DOCKER = "/docker/85d9619a0b6c48ca251e62ec175911b23572b3b4c14f0c25837904c2431ed186"


def test_a_container_that_sees_the_hosts_paths() -> None:
    """Docker without a cgroup namespace, which leaves rdma at the root."""
    rows = parse.proc_cgroup((HOSTS / "talk-docker-host-ns.cgroup").read_text())

    assert [row.hierarchy_id for row in rows] == list(range(12, 0, -1))
    assert {row.path for row in rows if row.controllers != ("rdma",)} == {IN_DOCKER}
    assert [row.path for row in rows if row.controllers == ("rdma",)] == ["/"]
    assert ("net_cls", "net_prio") in [row.controllers for row in rows]
    assert ("cpu", "cpuacct") in [row.controllers for row in rows]


def test_a_container_in_a_namespace_of_its_own() -> None:
    """With three controllers on one mount, and one that nobody knows."""
    rows = parse.proc_cgroup((HOSTS / "talk-docker-private-ns.cgroup").read_text())

    assert {row.path for row in rows} == {"/"}
    assert [row.controllers for row in rows] == [
        ("devices",),
        ("memory",),
        ("hugetlb",),
        ("pids",),
        ("net_cls",),
        ("freezer",),
        ("perf_event",),
        ("cpuset", "cpu", "cpuacct"),
        ("net_cgroup",),
        ("blkio",),
        ("name=systemd",),
    ]
