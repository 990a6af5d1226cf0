"""Ranges of id maps, and how they make room for one's own id."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgmgr.runtime import idmaps
from cgmgr.runtime.idmaps import MOST_ID, IdRange


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0:100000:10", IdRange(inner=0, outer=100000, count=10)),
        ("100000,0,10", IdRange(inner=0, outer=100000, count=10)),
        (f"0:{MOST_ID}:1", IdRange(inner=0, outer=MOST_ID)),
        (f"0:{MOST_ID}:2", None),
        ("0:1:0", None),
        ("0:1", None),
        ("0:1:2:3", None),
        ("0:1,2", None),
        ("-1:0:1", None),
        ("", None),
    ],
)
def test_the_grammar(text: str, found: IdRange | None) -> None:
    assert idmaps.parse_range(text) == found


def test_the_first_subordinate_range_counts(tmp_path: Path) -> None:
    file = tmp_path / "subuid"
    file.write_text("other:1:2\nme:x:3\nme:100:0\nme:100000:65536\n12:7:8\n")

    found = idmaps.subordinate(str(file), ["me", "12"])

    assert found == IdRange(inner=0, outer=100000, count=65536)
    assert idmaps.subordinate(str(file), ["nobody"]) is None


def test_each_as_itself(tmp_path: Path) -> None:
    file = tmp_path / "uid_map"
    file.write_text("         0       1000          1\n         1     100000      65536\n")

    assert idmaps.all_there_are(str(file)) == (
        IdRange(inner=0, outer=0),
        IdRange(inner=1, outer=1, count=65536),
    )


SMALL = st.integers(0, 12)


@given(SMALL, SMALL, st.integers(1, 8), SMALL, SMALL)
def test_beside_ones_own_id(inner: int, outer: int, count: int, mine: int, own: int) -> None:
    """In pairs: what is left of both sides, one after the other."""
    found = idmaps.beside(
        (IdRange(inner=inner, outer=outer, count=count),), IdRange(inner=mine, outer=own)
    )
    pairs = [(one.inner + n, one.outer + n) for one in found for n in range(one.count)]

    inside = [n for n in range(inner, inner + count) if n != mine]
    outside = [n for n in range(outer, outer + count) if n != own]
    assert pairs == [(mine, own), *zip(inside, outside, strict=False)]
