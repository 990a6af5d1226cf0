"""The arithmetic and the layout of the benchmarks; nothing here is timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.bench import report, rounds, table
from tests.bench.table import OVER, Row

ROWS = [
    pytest.param(Row("r", "us", 30, 20, "C", aim=1.5), 1.5, "1.50x", "met", id="ratio-on-the-aim"),
    pytest.param(Row("r", "us", 31, 20, "C", aim=1.5), 1.55, "1.55x", "missed", id="ratio-missed"),
    pytest.param(Row("r", "ms", 5, 10, "C"), 0.5, "0.50x", "", id="ratio-without-aim"),
    pytest.param(
        Row("r", "ms", 14.5, 12, "bare", aim=3, kind=OVER), 2.5, "2.50 ms", "met", id="over-met"
    ),
    pytest.param(
        Row("r", "ms", 60, 12, "bare", aim=40, kind=OVER), 48, "48.0 ms", "missed", id="over-missed"
    ),
]


@pytest.mark.parametrize(("row", "result", "shown", "verdict"), ROWS)
def test_result_and_verdict(row: Row, result: float, shown: str, verdict: str) -> None:
    assert row.result == pytest.approx(result)
    assert row.verdict == verdict
    assert row.cells()[5] == shown


def test_text_lines_up() -> None:
    rows = [Row("short", "us", 1234.5, 9, "C", aim=1.5), Row("a longer name", "ms", 0.1, 10, "C")]
    lines = table.text(rows).splitlines()
    assert len(lines) == 3
    assert {line.index("C") for line in lines[1:]} == {lines[0].index("compared with")}


def test_page_holds_every_row_and_owns_up_to_what_was_missed() -> None:
    good, bad = Row("good", "us", 1, 1, "C", aim=1.5), Row("bad", "us", 9, 1, "C", aim=1.5)
    taken = [report.Taken([good], "How good.", ""), report.Taken([bad], "How bad.", "reading")]
    page = report.page(taken, [table.Missing("podman", "it is not installed")], "2 CPUs")
    assert table.markdown([good, bad]) in page
    assert "Missed in that run: bad (9.00x)" in page
    assert "Where the time goes: reading" in page
    assert "podman: it is not installed" in page
    assert "2 CPUs" in page


def test_sides_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []

    def side(name: str, values: list[float]) -> Callable[[], float]:
        following: Iterator[float] = iter(values)

        def sample() -> float:
            order.append(name)
            return next(following)

        return sample

    medians = rounds.interleave((side("a", [99, 1, 5, 2]), side("b", [99, 7, 9, 8])), rounds=3)
    assert medians == [2, 8]
    assert "".join(order) == "abababab"
