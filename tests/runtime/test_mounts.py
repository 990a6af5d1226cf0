"""Mount options: what each word means, and which of two wins."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgmgr import linux
from cgmgr.errors import RequestError
from cgmgr.runtime import mounts
from cgmgr.runtime.mounts import Attributes, Options

RO, NOSUID = linux.MOUNT_ATTR_RDONLY, linux.MOUNT_ATTR_NOSUID
ATIME, NOATIME = linux.MOUNT_ATTR__ATIME, linux.MOUNT_ATTR_NOATIME
STRICT = linux.MOUNT_ATTR_STRICTATIME


@pytest.mark.parametrize(
    ("text", "options"),
    [
        pytest.param("", Options(), id="none"),
        pytest.param("defaults", Options(), id="defaults"),
        pytest.param("ro", Options(here=Attributes(set=RO)), id="ro"),
        pytest.param("ro,rw", Options(here=Attributes(cleared=RO)), id="later-wins"),
        pytest.param("rw,ro", Options(here=Attributes(set=RO)), id="later-wins-again"),
        pytest.param("rro", Options(below=Attributes(set=RO)), id="recursive-ro"),
        pytest.param("rrw", Options(below=Attributes(cleared=RO)), id="recursive-rw"),
        pytest.param("nosuid,ro", Options(here=Attributes(set=RO | NOSUID)), id="two"),
        pytest.param("noatime", Options(here=Attributes(set=NOATIME, cleared=ATIME)), id="noatime"),
        pytest.param(
            "noatime,strictatime",
            Options(here=Attributes(set=STRICT, cleared=ATIME)),
            id="one-atime-at-a-time",
        ),
        pytest.param("relatime", Options(here=Attributes(cleared=ATIME)), id="relatime"),
        pytest.param("bind", Options(bind=True), id="bind"),
        pytest.param("rbind", Options(bind=True, recursive=True), id="rbind"),
        pytest.param("slave", Options(propagation=linux.MS_SLAVE), id="slave"),
        pytest.param(
            "rprivate", Options(propagation=linux.MS_PRIVATE | linux.MS_REC), id="rprivate"
        ),
        pytest.param("size=64m,mode=1777", Options(data=("size=64m", "mode=1777")), id="data"),
        pytest.param("newinstance", Options(data=("newinstance",)), id="a-flag-of-the-fs"),
    ],
)
def test_words(text: str, options: Options) -> None:
    assert mounts.parse(text.split(",")) == options


@pytest.mark.parametrize("word", ["remount", "move", "loop", "nofail", "tmpcopyup"])
def test_what_has_no_meaning_is_refused(word: str) -> None:
    with pytest.raises(RequestError, match=word):
        mounts.parse((word,))


@given(st.lists(st.sampled_from(sorted(mounts.ATTRIBUTES)), max_size=6))
def test_nothing_is_set_and_cleared_but_the_access_time(words: list[str]) -> None:
    here = mounts.parse(words).here

    assert not here.set & here.cleared & ~ATIME


@pytest.mark.parametrize(
    ("first", "last"), list(itertools.permutations(["ro", "rw", "exec", "noexec"], 2))
)
def test_the_last_word_is_kept(first: str, last: str) -> None:
    cleared, set_ = mounts.ATTRIBUTES[last]
    here = mounts.parse((first, last)).here

    assert here.set & (cleared | set_) == set_
    assert here.cleared & (cleared | set_) == cleared
