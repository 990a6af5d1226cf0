"""Truth about OOM kills: who was killed, and whose limit it was, are two questions.

Law: pure; the verdict, from what was counted meanwhile.  Whoever counts is `cgmgr.oom_watch`.  What
cannot be known is said to be unknown, never guessed.

Killed with no limit hit anywhere is the host out of memory, provided that the hierarchy is seen up
to its real root: a container sees less, and a limit may be above that.
"""

from __future__ import annotations

from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

OWN: Final = "own"
ANCESTOR: Final = "ancestor"
BELOW: Final = "below"
HOST: Final = "host"
UNKNOWN: Final = "unknown"


class Oom(Record):
    """The kernel killed processes for want of memory.

    `kills`: how many in the group and below.  `whose` limit: `own`, `ancestor`, `below` (a group
    below this one has a limit of its own), `host` (no limit: the machine ran out) or `unknown`.
    `limit_at`: the path of the group whose limit was hit; `limit_bytes`: that limit; both None
    where they cannot be known, or where several groups above, or below, hit theirs.
    """

    kills: int
    whose: str = UNKNOWN
    limit_at: str | None = None
    limit_bytes: int | None = None


class Level(Record):
    """One group, as a verdict sees it: `hits` is how often its own limit was hit meanwhile, None
    where that cannot be read; `own` counts as the group's own."""

    path: str
    hits: int | None
    own: bool = False


def judge(
    kills: int,
    levels: Sequence[Level],
    *,
    below: int | None,
    rooted: bool,
    below_at: str | None = None,
) -> Oom | None:
    """The verdict, from the root's level down to the group's.

    `below`: how often a limit below the group was hit, None where that cannot be known but matters;
    `below_at`: the one group whose limit that was.
    `rooted`: the first level is the hierarchy's real root.
    """
    if kills <= 0:
        return None
    own = [level for level in levels if level.own and level.hits]
    above = [level for level in levels if not level.own and level.hits]
    if own:
        return Oom(kills=kills, whose=OWN, limit_at=own[-1].path)
    if below:
        return Oom(kills=kills, whose=BELOW, limit_at=below_at)
    if above:
        # a limit above that was hit may have cost another group a process; with one it was ours
        limit_at = above[0].path if len(above) == 1 else None
        return Oom(kills=kills, whose=ANCESTOR, limit_at=limit_at)
    if not rooted or below is None or any(level.hits is None for level in levels):
        return Oom(kills=kills, whose=UNKNOWN)
    return Oom(kills=kills, whose=HOST)
