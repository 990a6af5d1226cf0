"""Id maps of user namespaces: ranges, where they come from, and how they make room.

Law: text and files to ranges; nothing is written.  Who writes a map, and when, is
`cgmgr.runtime.unshare`'s.

Source: unshare(1), "--map-users"; user_namespaces(7), "Defining user and group ID mappings";
subuid(5).
"""

from __future__ import annotations

from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Final

#: (uid_t) -1 is no user (user_namespaces(7))
MOST_ID: Final = (1 << 32) - 2


class IdRange(Record):
    """`count` ids from `inner` on inside are those from `outer` on outside."""

    inner: int
    outer: int
    count: int = 1

    def __str__(self) -> str:
        return f"{self.inner} {self.outer} {self.count}"


def parse_range(text: str) -> IdRange | None:
    """INNER:OUTER:COUNT, or OUTER,INNER,COUNT as before util-linux 2.39; None if it is neither."""
    separator = ":" if ":" in text else ","
    parts = text.split(separator)
    numbers = [int(part) for part in parts if part.isascii() and part.isdigit()]
    if len(parts) != 3 or len(numbers) != 3:
        return None
    inner, outer, count = numbers if separator == ":" else (numbers[1], numbers[0], numbers[2])
    if not count or max(inner, outer) + count - 1 > MOST_ID:
        return None
    return IdRange(inner=inner, outer=outer, count=count)


def subordinate(path: str, names: Collection[str]) -> IdRange | None:
    """The first range of subuid(5) or subgid(5) for a user of these names, from 0 on inside.

    Raises `OSError` where the file cannot be read.
    """
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            name, _, numbers = line.strip().partition(":")
            start, _, count = numbers.partition(":")
            if name in names and start.isdecimal() and count.isdecimal() and int(count):
                return IdRange(inner=0, outer=int(start), count=int(count))
    return None


def all_there_are(path: str) -> tuple[IdRange, ...]:
    """Each id of this namespace as itself, from /proc/self/uid_map or gid_map."""
    with open(path, encoding="ascii") as file:
        rows = [[int(number) for number in line.split()] for line in file]
    return tuple(IdRange(inner=row[0], outer=row[0], count=row[2]) for row in rows)


def beside(ranges: tuple[IdRange, ...], own: IdRange) -> tuple[IdRange, ...]:
    """The map of one own id and of ranges, which leave out what it takes: they go on behind it, so
    that the last of them may find no place."""
    found = [own]
    for one in ranges:
        found += _paired(
            list(_without(one.inner, one.count, own.inner)),
            list(_without(one.outer, one.count, own.outer)),
        )
    return tuple(found)


def _without(first: int, count: int, hole: int) -> Iterator[tuple[int, int]]:
    """What is left of a range, as (first, count)."""
    end = first + count
    if not first <= hole < end:
        yield first, count
        return
    for start, stop in ((first, hole), (hole + 1, end)):
        if stop > start:
            yield start, stop - start


def _paired(inner: list[tuple[int, int]], outer: list[tuple[int, int]]) -> Iterator[IdRange]:
    while inner and outer:
        (inside, some), (outside, others) = inner.pop(0), outer.pop(0)
        count = min(some, others)
        yield IdRange(inner=inside, outer=outside, count=count)
        if some > count:
            inner.insert(0, (inside + count, some - count))
        if others > count:
            outer.insert(0, (outside + count, others - count))
