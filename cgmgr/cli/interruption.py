"""^C outside of what `foreground` takes.

Law: until a command begins to change things there is nothing to clean up, and ^C ends the process
at once: an exception in the middle of an import can come out as another one, or not at all.  From
then on it is KeyboardInterrupt, and after the last word it is nothing.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from types import FrameType
    from typing import Final, NoReturn
else:
    import _signal  # `signal` brings `enum`: this is here before anything that takes long

#: 128 + SIGINT
STATUS: Final = 130


def at_once() -> None:
    """From now on ^C ends the process; where it is ignored, or somebody else's, it stays so."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _leave)


def carefully() -> None:
    """From now on ^C raises KeyboardInterrupt: there may be something to undo."""
    if _signal.getsignal(_signal.SIGINT) is _leave:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def never() -> None:
    """From now on there is nothing but the end, which ^C would only make noisy."""
    if _signal.getsignal(_signal.SIGINT) in (_leave, _signal.default_int_handler):
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)


def is_why(error: BaseException) -> bool:
    """Whether an error is ^C, or came of it: some wrap what they do not expect."""
    # an error that is raised once more while another is handled may be its own reason's reason
    met: list[BaseException] = []
    ahead: list[BaseException | None] = [error]
    while ahead:
        one = ahead.pop()
        if isinstance(one, KeyboardInterrupt):
            return True
        if one is not None and one not in met:
            met.append(one)
            ahead += (one.__cause__, one.__context__)
    return False


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(STATUS)
