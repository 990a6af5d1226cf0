"""Settings as words of a command line, and what else commands say in text.

Law: text to values; the grammar of each word is the library's (`cgmgr.resources.words`).
"""

from __future__ import annotations

import contextlib
import os

from cgmgr.errors import CgmgrError, RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from cgmgr.policy import Policy
    from cgmgr.resources import Resources


def resources(assignments: Sequence[str], policy: Policy | None = None) -> Resources:
    """Resources from ``word=value`` texts, on top of a policy's.  Raises `RequestError`."""
    from cgmgr.facts import device_number
    from cgmgr.resources.words import resources_of, split_words

    below = policy.resources if policy is not None else None
    return resources_of(below, device_number, **split_words(assignments))


def reworded(error: CgmgrError, texts: Sequence[str]) -> None:
    """Have a complaint speak of what was typed: ``word=value`` texts, properties among them."""
    from cgmgr.facts import device_number
    from cgmgr.resources.flags import in_typed, typed

    in_typed(error, typed(texts, device_number))


@contextlib.contextmanager
def about(texts: Sequence[str]) -> Generator[None]:
    """Complaints that leave this speak of what was typed."""
    try:
        yield
    except CgmgrError as error:
        reworded(error, texts)
        raise


def parted(asked: Resources, properties: Sequence[str] | None) -> tuple[Resources, tuple[str, ...]]:
    """Properties as ``systemd-run -p`` takes them: those of resources on top of what is asked, for
    any driver, and the others as they stand, for systemd.  Raises `RequestError`."""
    if not properties:
        return asked, ()
    from cgmgr.facts import device_number
    from cgmgr.resources.systemd_text import TEXTS, from_assignments

    ours = [text for text in properties if text.partition("=")[0].strip() in TEXTS]
    rest = tuple(text for text in properties if text not in ours)
    for text in rest:
        if not text.partition("=")[1]:
            raise RequestError(
                f"-p {text!r}: write PROPERTY=VALUE, such as RuntimeMaxSec=1h",
                operation="read options",
                value=text,
            )
    return asked.merge(from_assignments(ours, device_number)) if ours else asked, rest


def policy(which: str | None) -> Policy | None:
    """The policy of a name or a file, None for none.  Raises `RequestError`, `HostError`."""
    if not which:
        return None
    from cgmgr.policy import Policy

    return Policy.load(which)


def driver(said: str, policy: Policy | None) -> str:
    """The driver that was named, else the environment's, else the policy's."""
    if said == "auto" and policy is not None and not os.environ.get("CGMGR_DRIVER"):
        return policy.driver or said
    return said


def seconds(text: str) -> float:
    """A duration such as "10s" or "250ms"; a bare number is seconds."""
    from cgmgr.units import parse_duration_usec

    return parse_duration_usec(text, "--timeout") / 1_000_000


def signal_number(text: str) -> int:
    """A signal by its name, with or without SIG, or by its number."""
    import signal

    name = text.upper()
    known = {s.name: int(s) for s in signal.Signals}
    number = known.get(name) or known.get(f"SIG{name}")
    if number is None and text.isascii() and text.isdigit() and int(text) in signal.valid_signals():
        number = int(text)
    if number is None:
        raise RequestError(
            f"unknown signal {text!r}", operation="parse signal", value=text, hint="kill -l"
        )
    return number


def signal_name(number: int) -> str:
    """A signal without SIG, as kill(1) takes it; its number where it has no name."""
    import signal

    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)
