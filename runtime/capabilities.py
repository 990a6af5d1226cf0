"""Capabilities: their names, what a container gets, and how a process sheds the rest.

Law: numbers and masks, and the prctl(2) and capset(2) calls that apply them to the calling thread.
Which user or program they are for is not known here.

Source: linux/capability.h, capabilities(7).
"""

from __future__ import annotations

import errno

from cgmgr import linux
from cgmgr.errors import RequestError
from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

#: the name at index N is capability N (linux/capability.h, without "CAP_")
NAMES: Final = (
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
)
NUMBERS: Final = {name: number for number, name in enumerate(NAMES)}

#: what a container's root keeps: podman's eleven (containers/common, pkg/config).  Docker gives
#: AUDIT_WRITE, MKNOD and NET_RAW as well.
DEFAULT: Final = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
)
ALL: Final = "ALL"


class CapabilitySets(Record):
    """The five sets of a thread (capabilities(7)) as bit masks."""

    bounding: int
    effective: int
    permitted: int
    inheritable: int = 0
    ambient: int = 0


def plain_name(text: str) -> str:
    """CHOWN for "cap_chown", "CHOWN" and "CAP_CHOWN".  Raises `RequestError` for any other word."""
    name = text.upper().removeprefix("CAP_")
    if name not in NUMBERS:
        raise RequestError(
            f"unknown capability {text!r}",
            operation="set capabilities",
            value=text,
            hint="capsh --print",
        )
    return name


def choose(add: Iterable[str] = (), drop: Iterable[str] = ()) -> tuple[str, ...]:
    """The names that docker's --cap-add and --cap-drop leave, in the kernel's order.

    As in moby's TweakCapabilities: `add` ALL is everything but what is dropped, else `drop` ALL is
    only what is added, else the default without what is dropped and with what is added.
    """
    added, dropped = _words(add), _words(drop)
    if ALL in added:
        chosen = set(NAMES) - dropped
    elif ALL in dropped:
        chosen = added
    else:
        chosen = (set(DEFAULT) - dropped) | added
    return tuple(name for name in NAMES if name in chosen)


def _words(texts: Iterable[str]) -> set[str]:
    return {ALL if text.upper() == ALL else plain_name(text) for text in texts}


def mask_of(names: Iterable[str]) -> int:
    """The bit mask of some names; `RequestError` for one that is none."""
    mask = 0
    for name in names:
        mask |= 1 << NUMBERS[plain_name(name)]
    return mask


def names_of(mask: int) -> tuple[str, ...]:
    """The names in a mask; a bit that has no name here is "CAP_N"."""
    numbers = [number for number in range(mask.bit_length()) if mask >> number & 1]
    return tuple(NAMES[n] if n < len(NAMES) else f"CAP_{n}" for n in numbers)


def bounding() -> int:
    """This thread's bounding set: what any program started from here can have at most."""
    mask = 0
    for number in range(64):
        try:
            held = linux.prctl(linux.PR_CAPBSET_READ, number)
        except OSError as error:
            if error.errno == errno.EINVAL:  # the first number that this kernel does not know
                return mask
            raise
        mask |= held << number
    return mask


def drop_bounding(keep: int) -> None:
    """Take everything but `keep` from the bounding set.  Needs CAP_SETPCAP, so it comes first."""
    for number in range(64):
        if keep >> number & 1:
            continue
        try:
            linux.prctl(linux.PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno == errno.EINVAL:  # the first number that this kernel does not know
                return
            raise


def apply(sets: CapabilitySets) -> None:
    """Set the permitted, effective, inheritable and ambient sets; `drop_bounding` came before.

    Raises `OSError` EPERM, naming them, where a capability is asked for that this process lacks.
    """
    _, permitted, _ = linux.capget()
    missing = sets.permitted & ~permitted
    if missing:
        raise OSError(errno.EPERM, f"not held here: {', '.join(names_of(missing))}")
    linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_CLEAR_ALL)
    linux.capset(sets.effective, sets.permitted, sets.inheritable)
    for number in range(sets.ambient.bit_length()):
        if sets.ambient >> number & 1:
            linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_RAISE, number)
