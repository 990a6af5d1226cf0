"""Other people's words for our settings: docker's flags, and what is often said instead.

Law: tables.  `FLAGS` are taken, because each means exactly one of our words, its value converted as
docker does; `MEANT` are refused, and name the word to write.  systemd's property names are
`systemd_text`'s; what a word means is `words`'.
"""

from __future__ import annotations

from cgmgr.errors import RequestError
from cgmgr.units import MAX, parse_int, refuse

from .formulas import BFQ_LEAST, BFQ_MOST, bfq_to_io_weight

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final

    #: a value, and the name to complain of, to what our word takes
    Convert = Callable[[Any, str], Any]


def _same(value: Any, _name: str) -> Any:
    return value


def _or_minus_one(value: Any, _name: str) -> Any:
    """docker's -1 is no limit."""
    return MAX if str(value) == "-1" else value


def _bfq(value: Any, name: str) -> int:
    return bfq_to_io_weight(parse_int(str(value), name, BFQ_LEAST, BFQ_MOST))


def _by_disk(convert: Convert) -> Convert:
    """DISK:VALUE, several in a list, as KEY=VALUE; a disk may be MAJOR:MINOR."""

    def read(value: Any, name: str) -> Any:
        if hasattr(value, "items"):
            return {disk: convert(said, name) for disk, said in value.items()}
        texts: list[Any] = value if type(value) in (list, tuple) else [value]
        return [_disk_pair(text, name, convert) for text in texts]

    return read


def _disk_pair(text: Any, name: str, convert: Convert) -> str:
    disk, colon, said = str(text).rpartition(":")
    if not colon or not disk or not said or "=" in str(text):
        raise refuse(name, text, "write DISK:NUMBER, such as /dev/sda:1mb")
    return f"{disk}={convert(said, name)}"


#: docker's name -> our word, and how its value becomes ours
FLAGS: Final[dict[str, tuple[str, Convert]]] = {
    "memory_reservation": ("memory_soft", _same),
    "memory_swappiness": ("swappiness", _same),
    "cpuset_cpus": ("cpuset", _same),
    "cpuset_mems": ("mems", _same),
    "pids_limit": ("pids", _or_minus_one),
    "blkio_weight": ("io_weight", _bfq),
    "blkio_weight_device": ("io_device_weight", _by_disk(_bfq)),
    "device_read_bps": ("io_rbps", _by_disk(_same)),
    "device_write_bps": ("io_wbps", _by_disk(_same)),
    "device_read_iops": ("io_riops", _by_disk(_same)),
    "device_write_iops": ("io_wiops", _by_disk(_same)),
    "cgroup_conf": ("unified", _same),
}
#: docker's sum of memory and swap, which becomes swap alone where memory is said too
TOGETHER: Final = "memory_swap"

#: what is often said -> our word for it
MEANT: Final[dict[str, str]] = {
    **dict.fromkeys(("mem", "ram", "memory_max", "memory_limit", "mem_limit", "m"), "memory"),
    **dict.fromkeys(("swap_max", "memory_swap_max", "swap_limit", "memswap_limit"), "swap"),
    **dict.fromkeys(("mem_reservation", "soft_limit", "memory_soft_limit"), "memory_soft"),
    **dict.fromkeys(("mem_swappiness", "vm_swappiness"), "swappiness"),
    "memory_oom_group": "oom_group",
    **dict.fromkeys(("cpu", "cpu_limit", "cpu_count", "nano_cpus", "ncpus"), "cpus"),
    **dict.fromkeys(("shares",), "cpu_shares"),
    **dict.fromkeys(("weight", "nice"), "cpu_weight"),
    **dict.fromkeys(("cpu_max", "cfs_quota", "cpu_cfs_quota_us", "quota"), "cpu_quota"),
    **dict.fromkeys(("cfs_period", "cpu_cfs_period_us", "period"), "cpu_period"),
    **dict.fromkeys(("burst", "cpu_max_burst"), "cpu_burst"),
    "idle": "cpu_idle",
    **dict.fromkeys(("allowed_cpus", "cpu_set", "cpu_list", "affinity"), "cpuset"),
    **dict.fromkeys(("numa", "nodes", "memory_nodes", "allowed_memory_nodes"), "mems"),
    "partition": "cpuset_partition",
    **dict.fromkeys(("tasks", "tasks_max", "pids_max", "max_pids", "processes", "nproc"), "pids"),
    "bfq_weight": "io_weight",
    **dict.fromkeys(("rbps", "io_read_bps", "read_bps"), "io_rbps"),
    **dict.fromkeys(("wbps", "io_write_bps", "write_bps"), "io_wbps"),
    **dict.fromkeys(("riops", "io_read_iops", "read_iops"), "io_riops"),
    **dict.fromkeys(("wiops", "io_write_iops", "write_iops"), "io_wiops"),
    **dict.fromkeys(("hugepages", "hugetlb_limit"), "hugetlb"),
    **dict.fromkeys(("device_cgroup_rule", "device", "device_allow"), "devices"),
    **dict.fromkeys(("freeze", "freezer"), "frozen"),
    **dict.fromkeys(("classid", "net_cls", "net_cls_classid"), "net_classid"),
    "ifpriomap": "net_prio",
}

#: what is no setting of a group, and why
NONE_OF_OURS: Final[dict[str, str]] = {
    "kernel_memory": "the kernel has no such limit since Linux 5.16",
    "kmem_limit": "the kernel has no such limit since Linux 5.16",
    "oom_score_adj": "that is each process's own, see choom(1)",
    "ulimit": "that is each process's own, see prlimit(1)",
}


def unknown(word: str, value: Any, known: Iterable[str]) -> RequestError:
    """The complaint about a word that is none, with the one to write where that can be told.

    What merely looks alike often means something else: only a slip of a letter is guessed.
    """
    import difflib

    names = sorted(known)
    plain = word.replace(".", "_").replace("-", "_").lower()
    meant = plain if plain in names else MEANT.get(plain)
    if meant is None and plain in FLAGS:
        meant = FLAGS[plain][0]
    near = [meant] if meant else difflib.get_close_matches(plain, names, n=1, cutoff=0.8)
    if plain in NONE_OF_OURS:
        also = NONE_OF_OURS[plain]
    else:
        also = f"did you mean {near[0]!r}?" if near else f"these are known: {', '.join(names)}"
    return RequestError(
        f"unknown setting {word!r}, {also}",
        operation="read settings",
        value=word,
        hint=assignment(near[0], value) if near else None,
    )


def assignment(word: str, value: Any) -> str:
    """A setting as it is to be written, with its value where that is text, as on a command line."""
    if not isinstance(value, str) or not value:
        return word
    from shlex import quote

    return quote(f"{word}={value}")
