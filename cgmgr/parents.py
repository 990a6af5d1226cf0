"""Groups that were made only to hold other groups.

Law: they are remembered as such when they are made, and removed with the last group below them; one
that somebody asked for stays, and where it was there before, in one hierarchy or all, it stays
there.  All of that happens under the lock of the topmost group, without which no group is made
below it: a parent that is being pruned would otherwise vanish under one that is being made.
"""

from __future__ import annotations

import contextlib

from cgmgr.driver import Request
from cgmgr.errors import GroupBusy, NoSuchGroup
from cgmgr.kernfs import join, parent_of, top_of
from cgmgr.plan import Machine
from cgmgr.rundir import GroupRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from cgmgr.driver import Driver
    from cgmgr.rundir import Rundir


@contextlib.contextmanager
def locked(rundir: Rundir, group: str) -> Generator[None]:
    """The lock of the topmost group, and the group's own."""
    top = top_of(group)
    with rundir.lock(top), contextlib.ExitStack() as stack:
        if group != top:
            stack.enter_context(rundir.lock(group))
        yield


def remember(rundir: Rundir, missing: Mapping[str, Iterable[str]], driver: Driver) -> None:
    """Note groups that are about to be made as parents, by hierarchy.  The caller holds the topmost
    lock."""
    made: dict[str, dict[str, str]] = {}
    for key, names in missing.items():
        for name in names:
            made.setdefault(name, {})[key] = join(driver.host.by_key(key).base, name)
    for name in sorted(made):
        if rundir.load(name) is None:
            rundir.save(
                GroupRecord.of_this_process(
                    name=name, driver=driver.name, implicit=True, paths=made[name]
                )
            )


def prune(driver: Driver, rundir: Rundir, name: str) -> None:
    """Remove the groups above `name` that were made only to hold groups like it, once they are
    empty; the first that somebody still uses, or asked for, ends it."""
    record = rundir.load(parent_of(name))  # whole without a lock; looked at again under it
    if record is not None and record.implicit:
        with rundir.lock(top_of(name)):
            prune_locked(driver, rundir, name)


def prune_locked(driver: Driver, rundir: Rundir, name: str) -> None:
    """As `prune`, for whoever holds the topmost lock."""
    parent = parent_of(name)
    while parent != "/":
        record = rundir.load(parent)
        if record is None or not record.implicit:
            return
        request = Request(group=parent, removal=True, only_empty=True)
        try:
            observed = driver.observe(request)
            ours = observed.replace(here=tuple(k for k in observed.here if k in record.paths))
            with Machine(driver.host) as machine:
                driver.remove(request, ours).execute(machine)
        except NoSuchGroup:
            pass
        except GroupBusy:
            return
        rundir.delete(parent)
        parent = parent_of(parent)
