"""From a `Filter` to the program of BPF that the kernel takes.

Law: numbers of calls come from `seccomp_names`; nothing else is asked, and nothing is done.

A program decides by architecture, then by number, in halves, with neighbours of one fate together,
then by arguments, where there are conditions.  A rule without any goes before those that have some;
of these the first that holds counts.  What is no architecture of the filter ends the thread, as
with libseccomp.  A call whose name is not known is left out, as with runc: it has no number here.

A filter that denies what it does not list would deny with EPERM what was not there when it was
written, too.  A C library that tries a new call and means to go on to the old one (clone3,
faccessat2) then fails.  So a call whose number is above the highest that any rule names is answered
as by a kernel without it.  Numbers are given in order, but for a few; runc does the same.

Why libseccomp does not make the programs: docs/adr/0012.

Source: linux/seccomp.h, linux/bpf_common.h, linux/audit.h; asm/unistd.h for x32;
opencontainers/runc#2750; arch/s390/kernel/syscall.c for setup(2); linux/net.h and linux/ipc.h for
the calls that are one.
"""

from __future__ import annotations

import errno
import struct
import sys

from cgmgr import linux
from cgmgr.errors import RequestError

from .seccomp import OPERATORS
from .seccomp_names import COMPILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from .seccomp import Condition, Filter
    from .seccomp_names import Library

    Line = tuple[int, int, int, int]
    #: what is done about one call: alternatives of conditions and an action, in their order
    Fate = tuple[tuple[tuple[Condition, ...], int], ...]

#: struct sock_filter: code, jump if true, jump if false, k
INSTRUCTION: Final = struct.Struct("=HBBI")
#: BPF_MAXINSNS: what the kernel takes
MOST_INSTRUCTIONS: Final = 4096
_FARTHEST: Final = 255

#: BPF_LD|BPF_W|BPF_ABS, BPF_ALU|BPF_AND|BPF_K, BPF_RET|BPF_K; BPF_JMP|BPF_{JA,...}|BPF_K
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP, _EQUAL, _GREATER, _AT_LEAST, _SET = 0x05, 0x15, 0x25, 0x35, 0x45
#: where struct seccomp_data has the number, the architecture and the arguments
_NR, _ARCH, _ARGS = 0, 4, 16

X86_64: Final = 0xC000003E
#: libseccomp's token; the kernel says X86_64, and sets a bit in the number
X32: Final = 0x4000003E
X32_BIT: Final = 0x40000000
#: a number of more than 8 bits goes by setup(2), and stays 0 where there is no such call
_S390: Final = (0x00000016, 0x80000016)
#: what a tracer makes of a call that is to be skipped
_SKIPPED: Final = 0xFFFFFFFF

ENOSYS: Final = linux.SECCOMP_RET_ERRNO | errno.ENOSYS
BAD_ARCHITECTURE: Final = linux.SECCOMP_RET_KILL_THREAD
#: these let a call happen: whether there is such a one is then the kernel's to say
_LETTING: Final = (linux.SECCOMP_RET_ALLOW, linux.SECCOMP_RET_LOG, linux.SECCOMP_RET_TRACE)

#: calls that some architectures have as one, with what the first argument is there
_AS_ONE: Final = {
    "socketcall": (
        (1, "socket bind connect listen accept getsockname getpeername socketpair send recv"),
        (11, "sendto recvfrom shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg"),
        (20, "sendmmsg"),
    ),
    "ipc": (
        (1, "semop semget semctl semtimedop"),
        (11, "msgsnd msgrcv msgget msgctl"),
        (21, "shmat shmdt shmget shmctl"),
    ),
}


def compiled(asked: Filter, library: Library) -> bytes:
    """The program, as seccomp(2) takes it.  Raises `HostError`, and `RequestError` for one that is
    too long."""
    tables = {token: _fates(asked, library, token) for token in library.architectures(asked)}
    lines: list[Line] = [(_LOAD, 0, 0, _ARCH)]
    for token in tables:
        if token != X32:
            block = _architecture(token, tables, asked.default)
            lines += [(_EQUAL, 1, 0, token), (_JUMP, 0, 0, len(block)), *block]
    lines.append(_return(BAD_ARCHITECTURE))
    if len(lines) > MOST_INSTRUCTIONS:
        raise RequestError(
            f"the seccomp filter has {len(lines)} instructions, "
            f"and {MOST_INSTRUCTIONS} are the most",
            operation=COMPILE,
            value=str(len(lines)),
        )
    return b"".join(INSTRUCTION.pack(*line) for line in lines)


def _fates(asked: Filter, library: Library, token: int) -> dict[int, Fate]:
    """What is done about each call of an architecture, by number."""
    found: dict[int, list[tuple[tuple[Condition, ...], int]]] = {}
    numbers = {name: library.number(token, name) for name in {name for name, _, _ in asked.rules}}
    shared = {
        name: (library.number(token, call), ((0, OPERATORS["SCMP_CMP_EQ"], which, 0),))
        for call, groups in _AS_ONE.items()
        for first, names in groups
        for which, name in enumerate(names.split(), first)
    }
    for name, action, conditions in asked.rules:
        if numbers[name] >= 0:
            found.setdefault(numbers[name], []).append((conditions, action))
        number, chosen = shared.get(name, (-1, ()))
        if number >= 0 and not conditions:  # the other arguments are in memory
            found.setdefault(number, []).append((chosen, action))
    return {number: _settled(fates) for number, fates in found.items()}


def _settled(fates: Sequence[tuple[tuple[Condition, ...], int]]) -> Fate:
    """A rule without conditions is the only one."""
    whole = [fate for fate in fates if not fate[0]]
    return tuple(whole[:1] or dict.fromkeys(fates))


def _architecture(token: int, tables: dict[int, dict[int, Fate]], default: int) -> list[Line]:
    lines: list[Line] = [(_LOAD, 0, 0, _NR)]
    if token == X86_64:
        x32 = [(_EQUAL, 0, 1, _SKIPPED), _return(_newer(default)), _return(BAD_ARCHITECTURE)]
        if X32 in tables:
            x32 = _numbers(tables[X32], default)
        lines += [(_SET, 1, 0, X32_BIT), (_JUMP, 0, 0, len(x32)), *x32]
    own = _numbers(tables[token], default)
    if token in _S390 and _newer(default) != default:
        lines += [(_EQUAL, 0, 1, 0), _return(ENOSYS)]
    return [*lines, *own]


def _newer(default: int) -> int:
    """What is done about calls that are newer than the filter."""
    return default if default & linux.SECCOMP_RET_ACTION_FULL in _LETTING else ENOSYS


def _numbers(fates: dict[int, Fate], default: int) -> list[Line]:
    """The decision by number, which is loaded."""
    usual: Fate = (((), default),)
    starts: list[tuple[int, Fate]] = []

    def begin(number: int, fate: Fate) -> None:
        if not starts or starts[-1][1] != fate:
            starts.append((number, fate))

    begin(0, usual)
    for number in sorted(fates):
        if starts[-1][0] == number:
            starts.pop()
        begin(number, fates[number])
        starts.append((number + 1, usual))
    if fates:
        starts[-1] = (starts[-1][0], (((), _newer(default)),))
    return _halves(starts, default)


def _halves(starts: Sequence[tuple[int, Fate]], default: int) -> list[Line]:
    if len(starts) == 1:
        return _alternatives(starts[0][1], default)
    middle = len(starts) // 2
    below, above = _halves(starts[:middle], default), _halves(starts[middle:], default)
    number = starts[middle][0]
    if len(below) <= _FARTHEST:
        return [(_AT_LEAST, len(below), 0, number), *below, *above]
    return [(_AT_LEAST, 0, 1, number), (_JUMP, 0, 0, len(below)), *below, *above]


def _alternatives(fate: Fate, default: int) -> list[Line]:
    """What is done about one call: it always ends with a return."""
    lines: list[Line] = []
    for conditions, action in fate:
        block = [_return(action)]
        for condition in reversed(conditions):
            block = [*_condition(condition, len(block)), *block]
        lines += block
        if not conditions:
            return lines
    return [*lines, _return(default)]


def _condition(condition: Condition, rest: int) -> list[Line]:
    """Go on where it holds, and `rest` instructions farther where it does not."""
    index, operator, value, two = condition
    high, low = (_ARGS + 8 * index + 4, _ARGS + 8 * index)
    if sys.byteorder == "big":
        high, low = low, high
    if operator == OPERATORS["SCMP_CMP_MASKED_EQ"]:
        mask_high, mask_low = divmod(value, 1 << 32)
        two_high, two_low = divmod(two & value, 1 << 32)
        return [
            (_LOAD, 0, 0, high),
            (_AND, 0, 0, mask_high),
            (_EQUAL, 0, rest + 3, two_high),
            (_LOAD, 0, 0, low),
            (_AND, 0, 0, mask_low),
            (_EQUAL, 0, rest, two_low),
        ]
    upper, lower = divmod(value, 1 << 32)
    shape, code = _COMPARISONS[operator]
    lines = [(_LOAD, 0, 0, high), *shape(upper, rest), (_LOAD, 0, 0, low)]
    passes = shape in (_equal, _above)
    return [*lines, (code, 0, rest, lower) if passes else (code, rest, 0, lower)]


def _equal(upper: int, rest: int) -> list[Line]:
    return [(_EQUAL, 0, rest + 2, upper)]


def _other(upper: int, _rest: int) -> list[Line]:
    return [(_EQUAL, 0, 2, upper)]


def _above(upper: int, rest: int) -> list[Line]:
    return [(_GREATER, 3, 0, upper), (_EQUAL, 0, rest + 2, upper)]


def _below(upper: int, rest: int) -> list[Line]:
    return [(_GREATER, rest + 3, 0, upper), (_EQUAL, 0, 2, upper)]


#: what the upper halves decide, and how the lower ones are compared where those are equal
_COMPARISONS: Final = {
    OPERATORS["SCMP_CMP_NE"]: (_other, _EQUAL),
    OPERATORS["SCMP_CMP_LT"]: (_below, _AT_LEAST),
    OPERATORS["SCMP_CMP_LE"]: (_below, _GREATER),
    OPERATORS["SCMP_CMP_EQ"]: (_equal, _EQUAL),
    OPERATORS["SCMP_CMP_GE"]: (_above, _AT_LEAST),
    OPERATORS["SCMP_CMP_GT"]: (_above, _GREATER),
}


def _return(action: int) -> Line:
    return (_RETURN, 0, 0, action)
