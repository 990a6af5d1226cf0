"""How a run ended, for people and for programs.

Law: a `Result` in, text out.  What the kernel does not say is left out, never shown as 0.
"""

from __future__ import annotations

from cgmgr.result import GONE
from cgmgr.units import format_bytes, format_usec

from .failing import UsageError, complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from cgmgr.result import Result

FORMS: Final = ("text", "json")
#: how long it must have run for a number of CPUs to mean something: when it began and ended is
#: known to a millisecond or so
LEAST_WALL_USEC: Final = 100_000
#: fields of a result that hold output of the command
_OUTPUT: Final = ("stdout", "stderr", "output_cut")


def form(text: str | None) -> str | None:
    """The value of --result.  Raises `UsageError`."""
    if text is not None and text not in FORMS:
        raise UsageError(f"invalid --result {text!r}: there are {' and '.join(FORMS)}", value=text)
    return text


def show(result: Result, wanted: str | None) -> None:
    """On standard error, which the command does not own any more: what was asked for, and in any
    case the verdict where the kernel killed something, and that the group was not there any more.
    """
    if wanted == "json":
        from .output import plain, to_json

        fields = {name: value for name, value in plain(result).items() if name not in _OUTPUT}
        extra = {"returncode": result.returncode, "verdict": result.verdict}
        complain(to_json({**extra, **fields}))
    elif wanted == "text":
        complain("\n".join(lines(result)))
    else:
        if result.oom is not None:
            complain(result.verdict)
        if result.group_gone:
            complain(f"cgmgr: warning: group {result.group}: {GONE}")


def lines(result: Result) -> Iterator[str]:
    """The verdict, then a line for each thing that was used."""
    yield result.verdict
    for name, text in (
        ("time", format_usec(result.wall_usec) if result.wall_usec is not None else ""),
        ("cpu", _cpu(result)),
        ("throttled", _throttled(result)),
        ("memory", _memory(result)),
        ("tasks", _tasks(result)),
        ("io", _io(result)),
        ("waited", _waited(result)),
    ):
        if text:
            yield f"{name:<10}{text}"
    for note in result.notes:
        yield f"{'note':<10}{note}"


def _cpu(result: Result) -> str:
    usage = result.cpu_usage_usec
    if usage is None:
        return ""
    text = format_usec(usage)
    modes = {"user": result.cpu_user_usec, "system": result.cpu_system_usec}
    known = [f"{name} about {format_usec(usec)}" for name, usec in modes.items() if usec]
    if known:
        text += f" ({', '.join(known)})"
    wall = result.wall_usec or 0
    return f"{text}, {usage / wall:.2f} cpus" if wall >= LEAST_WALL_USEC else text


def _throttled(result: Result) -> str:
    if not result.nr_periods:
        return ""
    held_up = format_usec(result.throttled_usec or 0)
    return f"{held_up} in {result.nr_throttled} of {result.nr_periods} periods"


def _memory(result: Result) -> str:
    if result.peak_memory_bytes is None:
        return ""
    text = f"peak {format_bytes(result.peak_memory_bytes)}"
    if result.peak_includes_start is not None:
        text += f", of which up to {format_bytes(result.peak_includes_start)} are from before it"
    if result.peak_swap_bytes:
        text += f", swap {format_bytes(result.peak_swap_bytes)}"
    return text


def _tasks(result: Result) -> str:
    if result.peak_pids is None:
        return ""
    refused = f", {result.pids_refused} refused" if result.pids_refused else ""
    return f"peak {result.peak_pids}{refused}"


def _io(result: Result) -> str:
    if not result.io_read_bytes and not result.io_write_bytes:
        return ""
    read, written = result.io_read_bytes or 0, result.io_write_bytes or 0
    return f"read {format_bytes(read)}, written {format_bytes(written)}"


def _waited(result: Result) -> str:
    """Pressure: how long some task waited for it."""
    waits = {
        "cpu": result.cpu_pressure_usec,
        "memory": result.memory_pressure_usec,
        "io": result.io_pressure_usec,
    }
    return ", ".join(f"for {name} {format_usec(usec)}" for name, usec in waits.items() if usec)
