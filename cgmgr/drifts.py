"""Where a group holds something else than was asked.

Law: reads only, and never fails because of what was asked: a request that could not be made now is
itself a difference.
"""

from __future__ import annotations

from cgmgr.driver import Request
from cgmgr.errors import LimitBelowUsage, RequestError
from cgmgr.plan import Drift
from cgmgr.resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.errors import CgmgrError
    from cgmgr.group import Group


def diff(group: Group) -> list[Drift]:
    """See `Group.diff`."""
    try:
        return _compared(group, group.resources)
    except RequestError:  # changed by somebody, and not to be had as it was
        return _piecewise(group)


def _compared(group: Group, asked: Resources) -> list[Drift]:
    request = Request(group=group.name, resources=asked, best_effort=True)
    observed = group.driver.observe(request)
    plan = group.driver.update(request, observed)
    with group.machine() as machine:
        refused = [_left_out(error) for error in (*observed.skipped, *plan.refused)]
        return [*refused, *(drift for step in plan.steps for drift in step.drift(machine))]


def _piecewise(group: Group) -> list[Drift]:
    """As the whole, without the settings that cannot be had beside those before them."""
    from cgmgr.resources.merge import singles

    held = Resources()
    refused: list[Drift] = []
    differs: list[Drift] = []
    for single in singles(group.resources):
        together = held.merge(single)
        try:
            differs = _compared(group, together)
        except RequestError as error:
            refused.append(_left_out(error))
        else:
            held = together
    return [*refused, *differs]


def _left_out(error: CgmgrError) -> Drift:
    held = str(error.used) if isinstance(error, LimitBelowUsage) else None
    return Drift(path=error.path or "", asked=error.value or "", held=held)
