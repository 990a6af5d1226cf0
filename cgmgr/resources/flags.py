"""What was typed for a word, a flag or another's name of it: complaints in those.

Law: names only.  What a flag means is `docker`'s business, what a word means `words`'.
"""

from __future__ import annotations

import contextlib

from cgmgr.errors import RequestError

from . import aliases

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Final, TypeVar

    from cgmgr.errors import CgmgrError

    from .devices import Resolve

    E = TypeVar("E", bound=CgmgrError)

#: flag -> word that reads it
OURS: Final = {
    "swap": "swap",
    "net_classid": "net_classid",
    "net_prio": "net_prio",
    "hugetlb": "hugetlb",
    "rdma": "rdma",
    "misc": "misc",
    "cgroup_conf": "unified",
}


#: word -> the flags that may have said it: the first of them that was given did
SAYERS: Final[dict[str, tuple[str, ...]]] = {
    **{word: (flag,) for flag, (word, _) in aliases.FLAGS.items()},
    **{word: (flag,) for flag, word in OURS.items()},
    "memory": ("memory",),
    "memory_low": ("memory_reservation",),
    "swap": ("swap", "memory_swap", "memory"),
    "oom_kill_disable": ("oom_kill_disable",),
    "cpus": ("cpus", "cpu_quota"),
    "cpu_quota": ("cpu_quota", "cpus"),
    "cpu_period": ("cpu_period", "cpus"),
    "cpu_weight": ("cpu_shares",),
    "cpu_shares": ("cpu_shares",),
    "cpu_rt_runtime": ("cpu_rt_runtime",),
    "cpu_rt_period": ("cpu_rt_period",),
    "devices": ("device_cgroup_rule",),
}


#: words whose flag is a number of microseconds
IN_USEC: Final = ("cpu_quota", "cpu_period", "cpu_rt_runtime", "cpu_rt_period")
#: word whose flag has another scale -> the property that has its own
OTHER_SCALE: Final = {"cpu_weight": "CPUWeight"}


def dashed(flag: str) -> str:
    """A flag as it is typed."""
    return "--" + flag.replace("_", "-")


def in_flags(error: E, given: Collection[str]) -> E:
    """A complaint about words, about the flags that said them.  Changes the error.

    `given` are the names of the flags that were given.  A word that none of them says came from
    elsewhere, such as a policy, and stays.
    """
    named = {word: [flag for flag in flags if flag in given] for word, flags in SAYERS.items()}
    in_typed(error, {word: dashed(flags[0]) for word, flags in named.items() if flags})
    error.hint = _hint_in_flags(error.hint)
    return error


def _hint_in_flags(hint: str | None) -> str | None:
    """A hint that is settings to write, as options; any other as it is."""
    import shlex

    if hint is None or "=" not in hint:
        return hint
    try:
        said = [assignment.partition("=") for assignment in shlex.split(hint)]
    except ValueError:
        return hint
    if not all(equals and word in SAYERS for word, equals, _ in said):
        return hint
    return " ".join(_as_option(word, value) for word, _, value in said)


def _as_option(word: str, value: str) -> str:
    """A setting as an option, in the scale that this one has."""
    if word in OTHER_SCALE:
        return aliases.assignment(f"--property={OTHER_SCALE[word]}", value)
    if word in IN_USEC:
        with contextlib.suppress(RequestError):
            value = _usec(word, value)
    return aliases.assignment(dashed(SAYERS[word][0]), value)


def _usec(word: str, value: str) -> str:
    """A time as docker's options have it: a number of microseconds, -1 for no limit."""
    from .words import SINGLE, resources_of

    part, field, _ = SINGLE[word]
    usec = getattr(getattr(resources_of(**{word: value}), part), field)
    return str(usec) if isinstance(usec, int) else "-1"


def in_typed(error: E, typed: Mapping[str, str]) -> E:
    """A complaint about our words, about what was typed for them.  Changes the error."""
    import re

    if not typed:
        return error
    said = (error.operation or "").partition(" ")[2].partition(" of ")[0]
    leading = rf"(?<=^){said}\b|(?<=^invalid ){said}\b" if said in typed else r"(?!)"
    plain = "|".join(word for word in typed if "_" in word) or r"(?!)"
    named = rf"{leading}|(?<![\w./-])(?:{plain})(?![\w./]| controller\b)"
    error.message = re.sub(named, lambda found: typed[found[0]], error.message)
    return error


def typed(assignments: Iterable[str], resolve: Resolve | None = None) -> dict[str, str]:
    """Our word -> what was typed for it, where that is another: docker's word, a property of
    systemd's, or one with "-"; of ``WORD=VALUE`` texts."""
    from .systemd_text import TEXTS, from_assignments
    from .words import words_of

    found: dict[str, str] = {}
    for text in assignments:
        said = text.partition("=")[0].strip()
        word = said.replace("-", "_")
        words: Iterable[str] = (aliases.FLAGS[word][0] if word in aliases.FLAGS else word,)
        if word == aliases.TOGETHER:
            words = ("swap",)
        elif said in TEXTS:
            with contextlib.suppress(RequestError):
                words = words_of(from_assignments([text], resolve))
        for name in words:
            if name != said:
                found.setdefault(name, said)
    return found
