"""The options of an overlay: escapes, the limit, what a bundle holds."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgmgr.runtime import overlay

paths = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1)


@given(st.lists(paths, min_size=1))
def test_layers_survive_their_escapes(lowers: list[str]) -> None:
    assert overlay.split_layers(overlay.join_layers(lowers)) == tuple(lowers)


@pytest.mark.parametrize(
    ("path", "escaped"),
    [("/a:b", "/a\\:b"), ("/a,b", "/a\\,b"), ("/a\\b", "/a\\\\b"), ("/a b", "/a b")],
    ids=["colon", "comma", "backslash", "blank"],
)
def test_escapes(path: str, escaped: str) -> None:
    assert overlay.escape(path) == escaped


def test_options() -> None:
    options = overlay.mount_options(("/b", "/a"), "upper", "work", volatile=True)

    assert options == (
        "lowerdir=/b:/a,upperdir=upper,workdir=work,"
        "index=off,metacopy=off,redirect_dir=off,volatile"
    )


def test_upper_looks_as_the_root_does(tmp_path: Path) -> None:
    lower, bundle = tmp_path / "lower", tmp_path / "bundle"
    lower.mkdir()
    lower.chmod(0o1751)
    bundle.mkdir()

    overlay.prepare(str(bundle), (str(lower),))

    assert sorted(entry.name for entry in bundle.iterdir()) == ["merged", "upper", "work"]
    assert stat.S_IMODE((bundle / "upper").stat().st_mode) == 0o1751
    assert stat.S_IMODE((bundle / "work").stat().st_mode) == 0o700
