"""What the launcher and a container's first process say to each other.

Law: the messages and what they carry; neither side's acts.  They go over a `cgmgr.spawn.channel`.

L is the launcher, I the container's first process, forked by the spawner into its namespaces and
groups and not executing anything yet.

    1. (start)   L to I   the steps and the program, as the data of the start itself
    2. TERMINAL  I to L   only with a terminal: the descriptor of its master
       LISTENER  I to L   only where the filter asks somebody: its listener's number, by write(2),
                          because whoever is asked must be there before sendmsg(2) may need him
    3. CREATED   I to L   every step is done; I waits
    4. START     L to I   go on.  The end of L's side instead means: nobody wants this any more
    5. EXECUTES  I to L   what the files of groups say by now; the next thing is exec
    6. (end)              I has executed: exec closed its side
    7. FAILED    I to L   instead of 2, 3, 5 or 6: what could not be done, errno, the words; I ends

With a gate L goes away after 3.  I waits at the gate, a fifo that it holds open: whoever writes to
it lets I go on.  From then on I writes what fails to a file: errno, a blank, the words.
"""

from __future__ import annotations

import marshal

from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final, TypeVar

    from .steps import Step

    T = TypeVar("T", bound=Record)

TERMINAL: Final = "terminal"
CREATED: Final = "created"
LISTENER: Final = "listener"
START: Final = "start"
EXECUTES: Final = "executes"
FAILED: Final = "failed"


class Program(Record):
    """What is executed at the end.  `die_with_launcher` has the kernel kill it when the thread that
    started it dies (PR_SET_PDEATHSIG).  `gated` says that it waits at a gate; the descriptors 3 and
    following that are `kept` are the program's.  Before the files of groups there are `others`."""

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    #: for seccomp(2), right before that; nothing where it is empty
    filter: bytes = b""
    filter_flags: int = 0
    die_with_launcher: bool = False
    gated: bool = False
    kept: int = 0
    others: int = 0


def encode(steps: Sequence[Step], program: Program) -> bytes:
    """Steps and program as the data of a start."""
    plain: Any = ([(type(step).__name__, _values(step)) for step in steps], _values(program))
    return marshal.dumps(plain)


def decode(data: bytes, kinds: dict[str, type[Step]]) -> tuple[list[Step], Program]:
    """The other side of `encode`; `kinds` are the steps there are, by name."""
    plain, program = marshal.loads(data)
    return [_record(kinds[name], values) for name, values in plain], _record(Program, program)


def listening(number: int) -> bytes:
    """The LISTENER message, as it is written."""
    return marshal.dumps((LISTENER, number))


def _values(record: Record) -> tuple[object, ...]:
    return tuple([getattr(record, field) for field in record.__fields__])


def _record(kind: type[T], values: tuple[object, ...]) -> T:
    """As it was, so that nothing has to be checked again: each container waits for this."""
    record = object.__new__(kind)
    for (_, put), value in zip(kind.__setters__, values, strict=True):
        put(record, value)
    return record
