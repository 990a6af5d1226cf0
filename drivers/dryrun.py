"""The dry-run driver: says what the host's own driver would do, and does none of it.

Law: wraps another driver; looks through it, compiles through it, and turns every step into one that
only speaks.  What would have been done is in `said`.
"""

from __future__ import annotations

from cgmgr.driver import load, usual
from cgmgr.plan import Plan, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cgmgr.driver import Driver, Observed, Request
    from cgmgr.host import Host
    from cgmgr.plan import Machine


class Say(Step):
    """Another step, described and not done."""

    step: Step

    def describe(self, machine: Machine) -> str:
        return self.step.describe(machine)

    def alternatives(self, machine: Machine) -> Iterator[str]:
        return self.step.alternatives(machine)

    def execute(self, machine: Machine) -> None:
        """Nothing: that is the point."""


def muted(plan: Plan) -> Plan:
    """The same plan, of steps that do nothing."""
    return Plan(
        steps=tuple(
            Say(step=step, irreversible=step.irreversible, shared=step.shared)
            for step in plan.steps
        ),
        refused=plan.refused,
    )


class DryRun:
    """See `cgmgr.driver.Driver`."""

    name = "dryrun"

    def __init__(self, host: Host, inner: Driver | None = None) -> None:
        self.inner = inner if inner is not None else load(usual(host), host)
        self.host = self.inner.host
        self.parent = self.inner.parent

    def full_name(self, said: str) -> str:
        return self.inner.full_name(said)

    def observe(self, request: Request) -> Observed:
        return self.inner.observe(request)

    def create(self, request: Request, observed: Observed) -> Plan:
        return muted(self.inner.create(request, observed))

    def update(self, request: Request, observed: Observed) -> Plan:
        return muted(self.inner.update(request, observed))

    def remove(self, request: Request, observed: Observed) -> Plan:
        return muted(self.inner.remove(request, observed))

    def attach(self, request: Request, observed: Observed) -> Plan:
        return muted(self.inner.attach(request, observed))

    def paths(self, group: str) -> dict[str, str]:
        return self.inner.paths(group)

    def children(self, parent: str) -> list[str]:
        return self.inner.children(parent)
