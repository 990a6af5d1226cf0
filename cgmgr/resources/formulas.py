"""The arithmetic between vocabularies.

Law: numbers in, numbers out; whole numbers throughout, except for the two logarithmic curves, whose
floating point was compared with 50 digits over their whole range and never rounds to another
integer.  "Unset" is None here, never 0; lifted limits are `MAX`, never -1.
"""

from __future__ import annotations

import math

from cgmgr.errors import RequestError
from cgmgr.units import MAX, MAX_U64, Max

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

#: cpu.shares (v1): kernel/sched/sched.h MIN_SHARES, MAX_SHARES
SHARES_LEAST: Final = 2
SHARES_MOST: Final = 262_144

#: docker's and runc's range of blkio.weight; bfq itself takes 1 to 9 too (block/bfq-iosched.h)
BFQ_LEAST: Final = 10
BFQ_MOST: Final = 1_000

#: systemd keeps CPUQuota in its drop-in as whole percents of a second, cut off: a quota that is not
#: a multiple would shrink at the next daemon-reload
PERCENT_USEC: Final = 10_000
#: kernel/sched/core.c max_cfs_runtime: 44 bits of microseconds
QUOTA_MOST: Final = (1 << 44) - 1
#: kernel/sched/core.c default_cfs_period(), and what systemd uses without CPUQuotaPeriodSec
DEFAULT_PERIOD_US: Final = 100_000


def shares_to_weight(shares: int) -> int:
    """cpu.weight (1..10000) that stands for v1's cpu.shares.

    The curve that runc 1.3.2, crun 1.23, youki and containerd use since 2025: it passes through
    (2, 1), (1024, 100) and (262144, 10000), and shares beyond the kernel's range are its ends.
    Many shares share one weight.
    """
    if shares <= SHARES_LEAST:
        return 1
    if shares >= SHARES_MOST:
        return 10_000
    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def weight_to_shares(weight: int) -> int:
    """The largest cpu.shares up to the curve's inverse.

    Back through `shares_to_weight` it is `weight` again, for every weight.
    """
    exponent = math.log10(weight) + 7 / 34
    log = (-125 + math.sqrt(15_625 + 2_448 * exponent)) / 2
    return min(max(math.floor(2**log), SHARES_LEAST), SHARES_MOST)


def io_weight_to_bfq(weight: int) -> int:
    """bfq's scale (blkio.weight, io.bfq.weight: 1..1000) for io.weight (1..10000).

    systemd's scaling (src/core/cgroup.c BFQ_WEIGHT): 100 is the default in both and stays 100.
    """
    return weight if weight <= 100 else 100 + (weight - 100) * 900 // 9_900


def bfq_to_io_weight(weight: int) -> int:
    """io.weight for bfq's scale, the inverse that crun uses: exact for every bfq weight."""
    return weight if weight <= 100 else 100 + (weight - 100) * 9_900 // 900


def memory_swap_to_swap(
    memory: int | Max | None, memory_swap: int | Max | None
) -> int | Max | None:
    """Swap alone, from v1's memory-and-swap together (runc `ConvertMemorySwapToCgroupV2Value`).

    Memory without limit and nothing said of swap is no limit on swap either.  Raises `RequestError`
    where the sum is a number and memory unknown, or the larger of the two.
    """
    if memory_swap is None:
        return MAX if memory is MAX else None
    if isinstance(memory_swap, Max) or isinstance(memory, Max):
        return memory_swap
    if memory is None:
        raise RequestError(
            "a limit on memory and swap together needs a limit on memory",
            operation="set memory.swap_bytes",
            value=str(memory_swap),
        )
    if memory_swap < memory:
        raise RequestError(
            f"memory and swap together are {memory_swap}, less than memory alone, {memory}",
            operation="set memory.swap_bytes",
            value=str(memory_swap),
        )
    return memory_swap - memory


def swap_to_memory_swap(memory: int | Max | None, swap: int | Max | None) -> int | Max | None:
    """v1's memory-and-swap together, from swap alone; None where there is no such number.

    There is none without a limit on memory, and above what the kernel counts.
    """
    if swap is None or isinstance(swap, Max):
        return swap
    together = memory + swap if isinstance(memory, int) else None
    return together if together is not None and together <= MAX_U64 >> 1 else None


def quota_to_per_sec_usec(quota_us: int, period_us: int) -> int:
    """systemd's CPUQuotaPerSecUSec: microseconds of CPU a second, up to the next whole percent."""
    return -(-quota_us * 1_000_000 // (period_us * PERCENT_USEC)) * PERCENT_USEC


def per_sec_usec_to_quota(per_sec_usec: int, period_us: int) -> int:
    """The quota that systemd writes for CPUQuotaPerSecUSec, 1 ms at the least (src/core/cgroup.c).

    Rounding may have gone above what the kernel takes.
    """
    return min(max(per_sec_usec * period_us // 1_000_000, 1_000), QUOTA_MOST)


def ids_to_mask(ids: Iterable[int]) -> bytes:
    """systemd's AllowedCPUs: id n is bit n % 8 of byte n // 8, without zero bytes at the end."""
    bits = 0
    for number in ids:
        bits |= 1 << number
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def mask_to_ids(mask: bytes) -> tuple[int, ...]:
    """The ids of a little-endian bit mask, sorted."""
    return tuple(
        8 * index + bit for index, byte in enumerate(mask) for bit in range(8) if byte >> bit & 1
    )
