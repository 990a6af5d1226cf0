"""Signals as the clients write them: "15", "TERM", "SIGTERM", "RTMIN+3".

Law: words to numbers, nothing else.

Source: signal(7); runc kill(8).
"""

from __future__ import annotations

from cgmgr.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # the module `signal` brings `enum`, which takes longer than all of this


def number_of(text: str) -> int:
    """The number of a signal; 0 only asks whether anybody is there.  Raises `RequestError`."""
    word = text.upper().removeprefix("SIG")
    if word.isdigit() and int(word) < _signal.NSIG:
        return int(word)
    base, plus, more = word.partition("+")
    known = getattr(_signal, f"SIG{base}", None)
    if isinstance(known, int) and not base.startswith("_"):
        number = known + (int(more) if plus and more.isdigit() else 0)
        if number < _signal.NSIG and (not plus or (base == "RTMIN" and more.isdigit())):
            return number
    # the clients look for these words
    raise RequestError(f"unknown signal {text!r}", operation="kill", value=text, hint="kill -l")
