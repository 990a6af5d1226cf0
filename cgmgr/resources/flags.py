"""Which flag said a word: complaints about words, in the words of a command line.

Law: names only.  What a flag means is `docker`'s business, what a word means `words`'.
"""

from __future__ import annotations

from . import aliases

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Collection
    from typing import Final, TypeVar

    from cgmgr.errors import CgmgrError

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


def dashed(flag: str) -> str:
    """A flag as it is typed."""
    return "--" + flag.replace("_", "-")


def in_flags(error: E, given: Collection[str]) -> E:
    """A complaint about words, about the flags that said them.  Changes the error.

    `given` are the names of the flags that were given.  A word that none of them says came from
    elsewhere, such as a policy, and stays.
    """
    import re

    said = (error.operation or "").partition(" ")[2].partition(" of ")[0]
    leading = rf"(?<=^){said}\b|(?<=^invalid ){said}\b" if said in SAYERS else r"(?!)"
    plain = "|".join(word for word in SAYERS if "_" in word)

    def flag(found: re.Match[str]) -> str:
        said = next((name for name in SAYERS[found[0]] if name in given), None)
        return dashed(said) if said else found[0]

    error.message = re.sub(rf"{leading}|(?<![\w./-])(?:{plain})(?![\w./])", flag, error.message)
    word, equals, value = (error.hint or "").strip("'").partition("=")
    if equals and word in SAYERS:
        error.hint = aliases.assignment(dashed(SAYERS[word][0]), value)
    return error
