"""The arithmetic between vocabularies, by the vectors of those who ship it."""

import math
from decimal import ROUND_CEILING, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgmgr.errors import RequestError
from cgmgr.resources.formulas import (
    QUOTA_MOST,
    bfq_to_io_weight,
    ids_to_mask,
    io_weight_to_bfq,
    mask_to_ids,
    memory_swap_to_swap,
    per_sec_usec_to_quota,
    quota_to_per_sec_usec,
    shares_to_weight,
    swap_to_memory_swap,
    weight_to_shares,
)
from cgmgr.units import GIB, MAX, MAX_ID, MAX_U64, MIB, Max

#: runc 1.3.2, crun 1.23, youki, containerd (the curve of 2025)
SHARES = {
    2: 1,
    3: 2,
    10: 4,
    51: 11,
    102: 17,
    128: 21,
    256: 35,
    512: 59,
    1_000: 99,
    1_023: 100,
    1_024: 100,
    1_025: 101,
    2_048: 174,
    4_096: 303,
    10_240: 639,
    65_536: 3_023,
    262_143: 10_000,
    262_144: 10_000,
}


@pytest.mark.parametrize(("shares", "weight"), SHARES.items())
def test_shares_to_weight(shares: int, weight: int) -> None:
    assert shares_to_weight(shares) == weight


@pytest.mark.parametrize(
    ("shares", "weight"), [(0, 1), (1, 1), (262_145, 10_000), (MAX_U64, 10_000)]
)
def test_shares_beyond_the_range_are_its_ends(shares: int, weight: int) -> None:
    assert shares_to_weight(shares) == weight


@pytest.mark.parametrize(("weight", "shares"), [(1, 2), (100, 1_024), (10_000, 262_144)])
def test_the_three_points_of_the_curve_are_exact_both_ways(weight: int, shares: int) -> None:
    assert weight_to_shares(weight) == shares
    assert shares_to_weight(shares) == weight


def test_every_weight_comes_back() -> None:
    assert all(shares_to_weight(weight_to_shares(w)) == w for w in range(1, 10_001))


def test_the_curve_never_falls() -> None:
    weights = [shares_to_weight(shares) for shares in range(2, 262_145)]

    assert weights == sorted(weights)


@given(st.integers(2, 262_144))
def test_floating_point_rounds_to_the_integer_that_50_digits_give(shares: int) -> None:
    with localcontext() as context:
        context.prec = 50
        log = Decimal(shares).ln() / Decimal(2).ln()
        exponent = (log * log + 125 * log) / 612 - Decimal(7) / 34
        exact = (exponent * Decimal(10).ln()).exp() - Decimal("1e-40")

        assert shares_to_weight(shares) == int(exact.to_integral_value(ROUND_CEILING))


#: crun's scale, the inverse of systemd's BFQ_WEIGHT
BFQ = {1: 1, 10: 10, 50: 50, 100: 100, 101: 111, 200: 1_200, 500: 4_500, 1_000: 10_000}


@pytest.mark.parametrize(("bfq", "weight"), BFQ.items())
def test_bfq_weights(bfq: int, weight: int) -> None:
    assert bfq_to_io_weight(bfq) == weight
    assert io_weight_to_bfq(weight) == bfq


def test_every_bfq_weight_comes_back() -> None:
    assert all(io_weight_to_bfq(bfq_to_io_weight(w)) == w for w in range(1, 1_001))


@pytest.mark.parametrize("weight", [1, 99, 100, 101, 105, 4_499, 9_999, 10_000])
def test_io_weights_as_systemd_scales_them(weight: int) -> None:
    by_systemd = weight if weight <= 100 else 100 + (weight - 100) * (1_000 - 100) // (10_000 - 100)

    assert io_weight_to_bfq(weight) == by_systemd
    assert 1 <= io_weight_to_bfq(weight) <= 1_000


#: memory, memory and swap, swap alone (runc ConvertMemorySwapToCgroupV2Value)
MEMSW: list[tuple[int | Max | None, int | Max | None, int | Max | None]] = [
    (MAX, None, MAX),
    (MAX, MAX, MAX),
    (None, None, None),
    (None, MAX, MAX),
    (GIB, None, None),
    (GIB, MAX, MAX),
    (MAX, GIB, GIB),
    (GIB, 3 * GIB, 2 * GIB),
    (GIB, GIB, 0),
    (1, 1, 0),
]


@pytest.mark.parametrize(("memory", "together", "swap"), MEMSW)
def test_memory_swap_to_swap(
    memory: int | Max | None, together: int | Max | None, swap: int | Max | None
) -> None:
    assert memory_swap_to_swap(memory, together) == swap


@pytest.mark.parametrize(
    ("memory", "together", "complaint"),
    [(None, GIB, "needs a limit on memory"), (GIB, GIB - 1, "less than memory alone")],
)
def test_memory_swap_that_says_nothing_of_swap(
    memory: int | None, together: int, complaint: str
) -> None:
    with pytest.raises(RequestError, match=complaint):
        memory_swap_to_swap(memory, together)


@pytest.mark.parametrize(
    ("memory", "swap", "together"),
    [
        (GIB, None, None),
        (GIB, MAX, MAX),
        (None, MAX, MAX),
        (GIB, 0, GIB),
        (GIB, 64 * MIB, GIB + 64 * MIB),
        (None, GIB, None),
        (MAX, GIB, None),
        (MAX_U64 >> 1, 1, None),
    ],
)
def test_swap_to_memory_swap(
    memory: int | Max | None, swap: int | Max | None, together: int | Max | None
) -> None:
    assert swap_to_memory_swap(memory, swap) == together


@given(st.integers(1, 1 << 60), st.integers(0, 1 << 60) | st.just(MAX))
def test_swap_comes_back(memory: int, swap: int | Max) -> None:
    assert memory_swap_to_swap(memory, swap_to_memory_swap(memory, swap)) == swap


#: quota, period, microseconds a second, and the quota that systemd makes of that (runc, ocg#4)
QUOTAS = [
    (12_345, 100_000, 130_000, 13_000),
    (1_000, 100_000, 10_000, 1_000),
    (33_333, 100_000, 340_000, 34_000),
    (50_000, 100_000, 500_000, 50_000),
    (150_000, 100_000, 1_500_000, 150_000),
    (1_000, 1_000_000, 10_000, 10_000),
    (1_001, 1_000, 1_010_000, 1_010),
]


@pytest.mark.parametrize(("quota", "period", "per_sec", "held"), QUOTAS)
def test_quotas_are_whole_percents_rounded_up(
    quota: int, period: int, per_sec: int, held: int
) -> None:
    assert quota_to_per_sec_usec(quota, period) == per_sec
    assert per_sec_usec_to_quota(per_sec, period) == held


@given(st.integers(1_000, QUOTA_MOST), st.integers(1_000, 1_000_000))
def test_a_rounded_quota_is_enough_and_settled(quota: int, period: int) -> None:
    per_sec = quota_to_per_sec_usec(quota, period)
    held = per_sec_usec_to_quota(per_sec, period)

    assert per_sec % 10_000 == 0
    assert quota <= held <= QUOTA_MOST
    assert held - quota <= period // 100 + 1
    assert held == QUOTA_MOST or quota_to_per_sec_usec(held, period) in (per_sec, per_sec - 10_000)


#: ids, the bytes on the bus; 6-9 became 0,1,14,15 in a big-endian encoder (runc#3611)
MASKS: list[tuple[tuple[int, ...], bytes]] = [
    ((), b""),
    ((0,), b"\x01"),
    ((0, 1), b"\x03"),
    ((2, 3, 4, 5), b"\x3c"),
    ((6, 7, 8, 9), b"\xc0\x03"),
    ((7,), b"\x80"),
    ((8,), b"\x00\x01"),
    ((0, 64), b"\x01" + b"\0" * 7 + b"\x01"),
]


@pytest.mark.parametrize(("ids", "mask"), MASKS, ids=[str(ids) for ids, _ in MASKS])
def test_masks(ids: tuple[int, ...], mask: bytes) -> None:
    assert ids_to_mask(ids) == mask
    assert mask_to_ids(mask) == ids


def test_zero_bytes_at_the_end_of_a_mask_say_nothing() -> None:
    assert mask_to_ids(b"\x01\0\0\0") == (0,)


@given(st.sets(st.integers(0, MAX_ID)))
def test_masks_come_back(ids: set[int]) -> None:
    mask = ids_to_mask(ids)

    assert mask_to_ids(mask) == tuple(sorted(ids))
    assert len(mask) == math.ceil((max(ids) + 1) / 8) if ids else mask == b""
