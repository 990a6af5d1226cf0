"""Whether this user may make groups on this host, and how to come by that.

Law: looks only.  The kernel has the last word; this is for saying all of it at once, and before
anything else goes wrong.
"""

from __future__ import annotations

import errno
import os

from cgmgr.errors import NotDelegated
from cgmgr.host import UNIFIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.host import Host

#: cgroup-v2.rst, "Delegation": what belongs to whom a group is delegated to
_DELEGATED = "cgroup.procs cgroup.subtree_control cgroup.threads"
#: ways out
ROOT = "su # root may"
OWN_SCOPE = "systemd-run --user --scope -p Delegate=yes -- $SHELL"


def demand(host: Host) -> None:
    """Raise `NotDelegated`, with the way out, where this user may make no groups.

    Root may, as far as anybody can tell before the kernel is asked.
    """
    if os.geteuid() == 0:
        return
    refused = refusal(host)
    if refused is not None:
        raise refused


def demand_entry(host: Host) -> None:
    """Raise `NotDelegated`, with the way out, where this user's processes cannot come into the
    groups of this host: a move needs the group above both places (cgroup-v2.rst, "Delegation
    Containment")."""
    v2 = host.v2
    if os.geteuid() == 0 or host.mode != UNIFIED or v2 is None or v2.own is None:
        return
    above = os.path.commonpath([v2.own, v2.base])
    procs = f"{v2.mountpoint}{above.rstrip('/')}/cgroup.procs"
    if os.access(procs, os.W_OK):
        return
    raise NotDelegated(
        f"no process can be moved from {v2.own} to a group below {v2.base}: user {os.geteuid()} "
        f"may not write {procs}",
        operation="start",
        path=procs,
        errno=errno.EACCES,
        hint=OWN_SCOPE,
    )


def refusal(host: Host) -> NotDelegated | None:
    """Why this user may make no groups, None where nothing is in the way.

    Hierarchies that are mounted read-only are another matter, and not looked at.
    """
    bases = [h.mountpoint + h.base.rstrip("/") for h in host.managed if not h.read_only]
    closed = [base for base in bases if not os.access(base, os.W_OK)]
    if not closed:
        return None
    where = closed[0] if len(closed) == 1 else f"{closed[0]} and {len(closed) - 1} other places"
    return NotDelegated(
        f"changing groups needs root here: user {os.geteuid()} may not write in {where}",
        operation="change groups",
        path=closed[0],
        errno=errno.EACCES,
        hint=way_out(host),
    )


def way_out(host: Host) -> str:
    """What to do about it.  A hierarchy of v1 is not for ordinary users: its limits are not safe to
    delegate (cgroup-v2.rst, "Delegation" is v2's), and systemd does not."""
    if host.mode != UNIFIED:
        return ROOT
    if host.pid1 == "systemd":
        return OWN_SCOPE
    assert host.v2 is not None
    group = f"{host.v2.mountpoint}/user-{os.geteuid()}"
    return (
        f"su -c 'mkdir {group} && cd {group} && chown {os.geteuid()} . {_DELEGATED} && "
        f"echo {os.getppid()} > cgroup.procs' # a group of your own, with your shell in it"
    )
