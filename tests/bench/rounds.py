"""How samples are taken: the sides in turn, A B A B, after a round that does not count.

Law: knows nothing of what is sampled.  A side returns one sample, which it times itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median


def interleave(sides: Sequence[Callable[[], float]], rounds: int, warm_up: int = 1) -> list[float]:
    """The median of each side over `rounds`; a disturbance that lasts hits every side alike."""
    samples: list[list[float]] = [[] for _ in sides]
    for turn in range(warm_up + rounds):
        for side, kept in zip(sides, samples, strict=True):
            value = side()
            if turn >= warm_up:
                kept.append(value)
    return [median(kept) for kept in samples]


def several(side: Callable[[], float], times: int) -> Callable[[], float]:
    """A side whose sample is the median of several in a row."""
    return lambda: median(side() for _ in range(times))


def per_call_usec(act: Callable[[], object], times: int) -> float:
    """What one of `times` calls in a row takes, in microseconds."""
    begin = time.perf_counter_ns()
    for _ in range(times):
        act()
    return (time.perf_counter_ns() - begin) / times / 1000
