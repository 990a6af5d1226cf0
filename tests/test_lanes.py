"""Which test lies in which lane, and what the summary says about each."""

from collections import Counter
from pathlib import Path

import pytest

from . import lanes


@pytest.mark.parametrize(
    ("path", "lane"),
    [
        ("tests/test_x.py::test_a[1]", "unit"),
        ("tests/drivers/test_x.py::test_a", "unit"),
        ("tests/root/test_x.py::test_a[root/x]", "root"),
        ("tests/root/deep/test_x.py", "root"),
        ("tests/root.py", "unit"),
        ("tests/conformance/test_x.py", "root"),
        ("tests/vm/unified/conformance/test_x.py::test_a", "vm"),
        ("tests/vm/test_x.py", "vm"),
        ("/srv/tests/checkout/tests/interop/test_x.py", "interop"),
        ("elsewhere/root/test_x.py", "unit"),
    ],
)
def test_lane_of(path: str, lane: str) -> None:
    assert lanes.lane_of(path).name == lane


def _report(nodeid: str, reason: str = "") -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=nodeid,
        location=("x.py", 1, "x"),
        keywords={},
        outcome="skipped" if reason else "passed",
        longrepr=("x.py", 1, f"Skipped: {reason}") if reason else None,
        when="call",
    )


STATS = {
    "passed": [_report("tests/test_a.py::a"), _report("tests/test_a.py::b")],
    "failed": [_report("tests/root/test_a.py::a")],
    "skipped": [_report(f"tests/root/test_a.py::{name}", "no misc here") for name in "xyz"]
    + [_report("tests/test_a.py::c", "no rdma here")],
}


def test_summary_tells_how_each_lane_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    free = tuple(lane._replace(obstacle=str) for lane in lanes.LANES)
    monkeypatch.setattr(lanes, "LANES", free)

    said = lanes.lines(STATS, ["unit", "root", "vm"])

    assert said[:2] == ["unit     run: 2 passed, 1 skipped", "root     run: 1 failed, 3 skipped"]
    assert said[2] == "vm       not run: has no tests"
    assert len(said) == 3


def test_summary_tells_why_a_lane_could_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tuple(lane._replace(obstacle=lambda: "needs root") for lane in lanes.LANES)
    monkeypatch.setattr(lanes, "LANES", kept)

    said = lanes.lines({"skipped": STATS["skipped"]}, ["root"])

    assert said == ["root     not run: needs root (3 skipped)"]


def test_skips_are_counted_by_reason() -> None:
    said = lanes.skip_lines(STATS)

    assert said == ["   3 skipped: no misc here", "   1 skipped: no rdma here"]


def test_user_without_root_is_an_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    assert lanes.no_root_or_no_cgroups() == "needs root, and the user id is 1000"


def test_whole_suite(tmp_path: Path) -> None:
    asked = {
        arguments: lanes.whole_suite(arguments, tmp_path)
        for arguments in [("tests",), (str(tmp_path),), (f"{tmp_path}/tests/root",)]
    }

    assert Counter(asked.values()) == {False: 2, True: 1}
