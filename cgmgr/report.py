"""What came of a change, and what would come of one.

Law: values that are told; whoever made the change fills them in.
"""

from __future__ import annotations

from cgmgr.errors import CgmgrError
from cgmgr.plan import Effect
from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.driver import Observed
    from cgmgr.plan import Machine, Plan


class Report(Record):
    """What came of a change: values that the kernel rounded, and what was refused (best effort).

    `restored` where somebody had been killed in the middle of another change, whose old settings
    were put back first, but for what was `lost`."""

    effects: tuple[Effect, ...] = ()
    refused: tuple[CgmgrError, ...] = ()
    restored: bool = False
    lost: tuple[str, ...] = ()


class Foretold(Record):
    """What a change would do, a line each, and what best effort would leave out of it."""

    lines: tuple[str, ...] = ()
    refused: tuple[CgmgrError, ...] = ()

    def said(self) -> list[str]:
        """All of it, a line each."""
        return [*self.lines, *(f"not held: {error}" for error in self.refused)]


def foretold(plan: Plan, observed: Observed, machine: Machine) -> Foretold:
    """What a plan would do."""
    lines = tuple(plan.describe(machine))
    return Foretold(lines=lines, refused=(*observed.skipped, *plan.refused))
