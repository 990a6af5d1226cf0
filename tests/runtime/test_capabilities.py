"""Capabilities: the table against the kernel's header, docker's words, masks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgmgr.errors import RequestError
from cgmgr.runtime import capabilities

HEADER = Path("/usr/include/linux/capability.h")


@pytest.mark.skipif(not HEADER.exists(), reason="needs the kernel's headers (linux-libc-dev)")
def test_the_table_is_the_headers() -> None:
    found = re.findall(r"^#define CAP_([A-Z_]+)\s+(\d+)$", HEADER.read_text(), re.MULTILINE)

    assert [name for name, _ in found] == list(capabilities.NAMES[: len(found)])
    assert [int(number) for _, number in found] == list(range(len(found)))


def test_there_are_forty_one_and_eleven_are_given() -> None:
    assert len(capabilities.NAMES) == 41
    assert len(set(capabilities.DEFAULT)) == 11


@pytest.mark.parametrize(
    ("text", "name"),
    [("CAP_NET_RAW", "NET_RAW"), ("net_raw", "NET_RAW"), ("cap_net_raw", "NET_RAW")],
)
def test_spellings(text: str, name: str) -> None:
    assert capabilities.plain_name(text) == name


@pytest.mark.parametrize("text", ["", "NET", "CAP_", "41", "CAP_CAP_KILL", "ALL"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(RequestError, match="unknown capability"):
        capabilities.plain_name(text)


DEFAULT = set(capabilities.DEFAULT)
EVERY = set(capabilities.NAMES)


@pytest.mark.parametrize(
    ("add", "drop", "left"),
    [
        pytest.param((), (), DEFAULT, id="default"),
        pytest.param(("NET_RAW",), (), DEFAULT | {"NET_RAW"}, id="one-more"),
        pytest.param((), ("CHOWN",), DEFAULT - {"CHOWN"}, id="one-less"),
        pytest.param(("all",), (), EVERY, id="all"),
        pytest.param(("ALL",), ("SYS_ADMIN",), EVERY - {"SYS_ADMIN"}, id="all-but-one"),
        pytest.param((), ("ALL",), set[str](), id="none"),
        pytest.param(("CHOWN",), ("ALL",), {"CHOWN"}, id="only-one"),
        pytest.param(("CHOWN",), ("CHOWN",), DEFAULT, id="added-wins"),
        pytest.param(("ALL",), ("ALL",), EVERY, id="all-and-none"),
    ],
)
def test_docker_words(add: tuple[str, ...], drop: tuple[str, ...], left: set[str]) -> None:
    chosen = capabilities.choose(add, drop)

    assert set(chosen) == left
    assert sorted(chosen, key=capabilities.NUMBERS.__getitem__) == list(chosen)


@given(st.sets(st.sampled_from(capabilities.NAMES)))
def test_a_mask_holds_the_names(names: set[str]) -> None:
    assert set(capabilities.names_of(capabilities.mask_of(names))) == names


def test_a_bit_without_a_name_is_shown() -> None:
    assert capabilities.names_of(1 << 50 | 1) == ("CHOWN", "CAP_50")


def test_the_bounding_set_is_what_proc_says() -> None:
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if "CapBnd" in line
    )

    assert capabilities.bounding() == int(line.split()[1], 16)
