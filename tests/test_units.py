"""Quantities as people write them, and MAX."""

import contextlib
import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgmgr import units
from cgmgr.errors import RequestError
from cgmgr.units import (
    GIB,
    KIB,
    MAX,
    MAX_ID,
    MAX_U64,
    MIB,
    Max,
    format_bytes,
    format_id_list,
    format_usec,
    parse_bytes,
    parse_cpus_usec,
    parse_duration_usec,
    parse_id_list,
    parse_int,
)

TIB, PIB = 1 << 40, 1 << 50

#: texts that no parser may take: the digits of other scripts, NUL, signs, exponents, spaces, and
#: numbers that Python itself would refuse to read (its limit is 4300 digits)
NONSENSE = [
    pytest.param(text, id=name)
    for name, text in {
        "empty": "",
        "space": " ",
        "dot": ".",
        "minus": "-",
        "negative": "-1",
        "plus": "+1",
        "arabic-digits": "٣٢",
        "fullwidth-digits": "\uff11\uff12",
        "superscript": "2²",
        "nul": "1\0",
        "nul-first": "\x001",
        "newline": "1\n",
        "tab": "1\t",
        "leading-space": " 32",
        "trailing-space": "32 ",
        "underscore": "1_000",
        "hex": "0x10",
        "exponent": "1e3",
        "two-dots": "1.2.3",
        "comma": "1,5",
        "infinity": "inf",
        "nan": "nan",
        "word": "hello",
        "five-thousand-digits": "9" * 5_000,
        "dot-and-five-thousand": "1." + "9" * 5_000,
    }.items()
]
PARSERS: dict[str, Callable[[str], Any]] = {
    "bytes": parse_bytes,
    "int": lambda text: parse_int(text, "number", 0, 100),
    "cpus": lambda text: parse_cpus_usec(text, 100_000),
    "duration": parse_duration_usec,
}


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_is_refused_and_quoted(parse: Callable[[str], Any], text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(text)

    error = caught.value
    assert error.value == text
    assert repr(text[:70])[:-1] in str(error)
    assert len(str(error)) < 250
    assert str(error)[0].islower()
    assert not str(error).endswith(".")


@given(st.text())
def test_no_text_raises_anything_but_a_request_error(text: str) -> None:
    for parse in (*PARSERS.values(), parse_id_list):
        with contextlib.suppress(RequestError):
            parse(text)


# -- bytes: docker/go-units RAMInBytes; the vectors of its own tests are among these

BYTES = {
    "32": 32,
    "0": 0,
    "32b": 32,
    "32B": 32,
    "32k": 32 * KIB,
    "32K": 32 * KIB,
    "32kb": 32 * KIB,
    "32Kb": 32 * KIB,
    "32Kib": 32 * KIB,
    "32KIB": 32 * KIB,
    "32Mb": 32 * MIB,
    "32Gb": 32 * GIB,
    "32Tb": 32 * TIB,
    "32Pb": 32 * PIB,
    "32P": 32 * PIB,
    "32.3": 32,
    "32.3 mb": int(32.3 * MIB),
    "0.3MB": int(0.3 * MIB),
    "1 gb": GIB,
    "1.5g": 3 * GIB // 2,
    "64MiB": 64 * MIB,
    ".5k": 512,
    "1.k": KIB,
    "0.0000001k": 0,
    "8191P": 8191 * PIB,
    "007k": 7 * KIB,
}


@pytest.mark.parametrize(("text", "value"), BYTES.items(), ids=BYTES)
def test_bytes(text: str, value: int) -> None:
    assert parse_bytes(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *("-32", "12Q", "32bb", "32bm", "32m b", "32  mb", "32 ", " 32m", "k", "32ib", "32kibb"),
        *("32kbi", "8E", "1m1k", "32 k ", "32\tk", "32\u00a0k", "32\uff4b", "32\u212a"),
    ],
)
def test_bytes_that_are_none(text: str) -> None:
    with pytest.raises(RequestError, match=r"invalid --memory .*: write a size such as 512m"):
        parse_bytes(text, "--memory")


@pytest.mark.parametrize("text", ["8192P", "9223372036854775808", "9" * 60, "99999999999999999p"])
def test_more_bytes_than_the_kernel_counts(text: str) -> None:
    with pytest.raises(RequestError, match="more than the kernel counts"):
        parse_bytes(text)


@given(st.integers(0, MAX_U64 >> 1))
def test_plain_bytes_are_themselves(count: int) -> None:
    assert parse_bytes(str(count)) == parse_bytes(f"{count}b") == count


@given(st.integers(0, 1 << 40), st.integers(0, 999_999), st.sampled_from("kmgt"))
def test_fractions_are_exact_and_cut_off(whole: int, millionths: int, letter: str) -> None:
    unit = {"k": KIB, "m": MIB, "g": GIB, "t": TIB}[letter]
    exact = (whole * 1_000_000 + millionths) * unit // 1_000_000
    if exact <= MAX_U64 >> 1:
        assert parse_bytes(f"{whole}.{millionths:06}{letter}") == exact


# -- whole numbers


@pytest.mark.parametrize(
    ("text", "least", "most", "value"),
    [("0", 0, 0, 0), ("-1", -1, 5, -1), ("5", -1, 5, 5), ("007", 0, 9, 7)],
)
def test_whole_numbers(text: str, least: int, most: int, value: int) -> None:
    assert parse_int(text, "number", least, most) == value


@pytest.mark.parametrize("text", ["6", "-2", "--1", "-", "1-", "1.0"])
def test_whole_numbers_out_of_bounds(text: str) -> None:
    with pytest.raises(RequestError, match=r"invalid --n '.*': write a whole number from -1 to 5"):
        parse_int(text, "--n", -1, 5)


# -- cpus

CPUS = {
    "0": 0,
    "1": 100_000,
    "0.5": 50_000,
    "1.5": 150_000,
    ".5": 50_000,
    "2.": 200_000,
    "0.000000001": 0,
    "0.123456789": 12_345,
    "3/2": 150_000,
    "1/8": 12_500,
    "0.5/2": 25_000,
    "1.0000000000": 100_000,
}


@pytest.mark.parametrize(("text", "quota"), CPUS.items(), ids=CPUS)
def test_cpus(text: str, quota: int) -> None:
    assert parse_cpus_usec(text, 100_000) == quota


@pytest.mark.parametrize("text", ["1/3", "0.0000000001", "1.0000000001"])
def test_cpus_too_precise(text: str) -> None:
    with pytest.raises(RequestError, match="too precise, 9 decimals are the most"):
        parse_cpus_usec(text, 100_000)


@pytest.mark.parametrize("text", ["1/0", "1/", "/2", "1/2/3", "1/-2", "1 /2", "1m"])
def test_cpus_that_are_none(text: str) -> None:
    with pytest.raises(RequestError, match="write a number of CPUs"):
        parse_cpus_usec(text, 100_000)


@given(st.integers(0, 10**12), st.integers(1_000, 1_000_000))
def test_cpus_are_exact(nanos: int, period: int) -> None:
    text = f"{nanos // 10**9}.{nanos % 10**9:09}"

    assert parse_cpus_usec(text, period) == nanos * period // 10**9


# -- durations

DURATIONS = {
    "0": 0,
    "10": 10_000_000,
    "1.5": 1_500_000,
    "10s": 10_000_000,
    "250ms": 250_000,
    "7us": 7,
    "1m30s": 90_000_000,
    "1.5h": 5_400_000_000,
    "1h1m1s1ms1us": 3_661_001_001,
    "0.5us": 0,
    "1m": 60_000_000,
    "1s1s": 2_000_000,
}


@pytest.mark.parametrize(("text", "usec"), DURATIONS.items(), ids=DURATIONS)
def test_durations(text: str, usec: int) -> None:
    assert parse_duration_usec(text) == usec


@pytest.mark.parametrize(
    "text",
    ["m", "s", "ms", "1d", "1 s", "1m 30s", "1m30", "1sm", "-1s", "1s-", "1.s.", "1ss", "1S"],
)
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_duration_usec(text, "--timeout")

    assert f"invalid --timeout {text!r}: write a duration" in str(caught.value)


def test_a_duration_longer_than_the_kernel_counts() -> None:
    with pytest.raises(RequestError, match="more than the kernel counts"):
        parse_duration_usec("99999999999999h")


# -- ids

ID_LISTS: dict[str, tuple[int, ...]] = {
    "": (),
    "\n": (),
    "0": (0,),
    "0-3": (0, 1, 2, 3),
    "0-3,7": (0, 1, 2, 3, 7),
    "7,0-3": (0, 1, 2, 3, 7),
    "1,1,1-2": (1, 2),
    "0-0": (0,),
    "00-03": (0, 1, 2, 3),
    "0-1\n": (0, 1),
    f"{MAX_ID}": (MAX_ID,),
}


@pytest.mark.parametrize(("text", "ids"), ID_LISTS.items(), ids=[repr(text) for text in ID_LISTS])
def test_id_lists(text: str, ids: tuple[int, ...]) -> None:
    assert parse_id_list(text) == ids


@pytest.mark.parametrize(
    "text",
    [
        *(",", "0,", ",0", "0,,1", "3-1", "-1", "1-", "-", "0-1-2", "a", "0 1", "0, 1", "0-3:2/4"),
        *("\u0663", "1.5", "+1", "0x1", f"{MAX_ID + 1}", "0-99999999999", "9" * 5_000),
    ],
)
def test_id_lists_that_are_none(text: str) -> None:
    with pytest.raises(RequestError, match=r"write a list such as 0-3,7 with numbers up to 8191"):
        parse_id_list(text)


@given(st.sets(st.integers(0, MAX_ID)))
def test_id_lists_are_spelled_and_read(ids: set[int]) -> None:
    assert parse_id_list(format_id_list(ids)) == tuple(sorted(ids))


@pytest.mark.parametrize(
    ("ids", "text"),
    [((), ""), ((0, 1, 2, 3, 7), "0-3,7"), ((7, 3, 1), "1,3,7"), ((0, 1), "0-1"), ((5,), "5")],
)
def test_the_canonical_spelling(ids: tuple[int, ...], text: str) -> None:
    assert format_id_list(ids) == text


# -- for people


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (MAX, "max"),
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1KiB"),
        (1025, "1.0KiB"),
        (64 * MIB, "64MiB"),
        (int(63.9 * MIB), "63.9MiB"),
        (3 * GIB // 2, "1.5GiB"),
        (5 * PIB, "5PiB"),
    ],
)
def test_bytes_for_people(count: int | Max, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("usec", "text"), [(0, "0us"), (250, "250us"), (1_500, "1.5ms"), (2_500_000, "2.50s")]
)
def test_times_for_people(usec: int, text: str) -> None:
    assert format_usec(usec) == text


# -- MAX


def test_max_is_one_and_equal_to_itself_only() -> None:
    assert (str(MAX), repr(MAX)) == ("max", "MAX")
    others: list[object] = [math.inf, "max", None]
    assert MAX not in others
    assert len({MAX, MAX}) == 1


def _pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy, _pickled])
def test_max_survives_copies(through: Callable[[Any], Any]) -> None:
    assert through(MAX) is MAX
    assert through((MAX,))[0] is MAX


def test_a_long_text_is_shortened_in_the_message_and_whole_in_the_error() -> None:
    error = units.refuse("size", "x" * 500, "write less")

    assert len(str(error)) < 120
    assert error.value == "x" * 500
    assert error.operation == "parse size"
