"""io, pids, rdma, misc, net_cls, net_prio.

Law: one function a file or family.  Whether an io scheduler supports a device is not modelled.
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

from .numbers import fail, signed, unsigned

if TYPE_CHECKING:
    from .group import Group


def write_pids_max(group: Group, file: str, value: str) -> None:
    """pids_max_write; more than PID_MAX_LIMIT is refused, not taken for max."""
    if value != "max" and not 0 <= signed(value) <= 4194304:
        fail(errno.EINVAL)
    group.put(file, value if value == "max" else str(signed(value)))


def settle_pids(group: Group) -> None:
    if group.made and group.has("pids.current"):
        count = sum(len(one.pids) for one in group.below())
        group.put("pids.current", str(count))
        if group.has("pids.peak"):
            group.put("pids.peak", str(max(count, int(group.get("pids.peak")))))


def write_rdma(group: Group, file: str, value: str) -> None:
    """rdmacg_resource_set_max: one device, any of its resources."""
    device, *pairs = value.split() or [""]
    matches = [re.fullmatch(r"(hca_handle|hca_object)=(max|\d+)", pair) for pair in pairs]
    if not all(matches):
        fail(errno.EINVAL)
    if device not in group.kernel.facts.rdma:
        fail(errno.ENODEV)
    lines: list[str] = []
    for line in group.get(file).splitlines():
        fields = dict(pair.split("=") for pair in line.split()[1:])
        if line.split()[0] == device:
            fields |= {match[1]: match[2] for match in matches if match}
        lines.append(" ".join([line.split()[0], *(f"{k}={v}" for k, v in fields.items())]) + " ")
    group.put(file, "\n".join(lines))


def _disk(group: Group, value: str) -> tuple[str, str]:
    """blkg_conf_prep: "MAJOR:MINOR REST"; ENODEV for what is no whole disk."""
    match = re.fullmatch(r"(\d+):(\d+)\s+(.*)", value, re.DOTALL)
    if match is None:
        fail(errno.EINVAL)
    if f"{match[1]}:{match[2]}" not in group.kernel.facts.disks:
        fail(errno.ENODEV)
    return f"{match[1]}:{match[2]}", match[3]


def _set_line(group: Group, file: str, key: str, rest: str | None) -> None:
    """Change the line that begins with `key`; None takes it away."""
    lines = [line for line in group.get(file).splitlines() if line.split(maxsplit=1)[0] != key]
    group.put(file, "\n".join(lines + ([f"{key} {rest}"] if rest is not None else [])))


def write_throttle(group: Group, file: str, value: str) -> None:
    """tg_set_conf: 0 takes the limit away; operations are kept in 32 bits."""
    disk, rest = _disk(group, value)
    match = re.match(r"\d+", rest)
    if match is None:
        fail(errno.EINVAL)
    rate = int(match[0]) % (2**64 if "bps" in file else 2**32)
    _set_line(group, file, disk, str(rate) if rate else None)


def write_io_max(group: Group, file: str, value: str) -> None:
    """tg_set_limit: the keys that are given; a device without a limit has no line."""
    disk, rest = _disk(group, value)
    limits: dict[str, str] = dict.fromkeys(("rbps", "wbps", "riops", "wiops"), "max")
    for line in group.get(file).splitlines():
        if line.split()[0] == disk:
            limits |= dict(pair.split("=") for pair in line.split()[1:])
    for pair in rest.split():
        key, _, text = pair.partition("=")
        if text != "max" and not re.match(r"\d", text):
            fail(errno.EINVAL)
        if text != "max" and int(text) == 0:
            fail(errno.ERANGE)
        if key not in limits:
            fail(errno.EINVAL)
        limits[key] = str(min(int(text), 2**32 - 1)) if "iops" in key and text != "max" else text
    limited = any(text != "max" for text in limits.values())
    _set_line(
        group, file, disk, " ".join(f"{k}={v}" for k, v in limits.items()) if limited else None
    )


def write_io_weight(group: Group, file: str, value: str) -> None:
    """ioc_weight_write: 1..10000 by default or for a device, for which `default` clears it."""
    key, text = ("default", value.removeprefix("default").strip())
    if ":" in value:
        key, text = _disk(group, value)
    if key != "default" and text.startswith("default"):
        _set_line(group, file, key, None)
        return
    if not re.match(r"\d", text) or not 1 <= int(text) <= 10000:
        fail(errno.EINVAL)
    if key != "default":
        _set_line(group, file, key, text)
    else:
        group.set_key(file, "default", int(text))


def write_bfq_weight(group: Group, file: str, value: str) -> None:
    """bfq_io_set_weight: 1..1000, ERANGE beyond; the same number for both files of v1."""
    if ":" in value:
        disk, text = _disk(group, value)
        if text != "default" and not 1 <= unsigned(text) <= 1000:
            fail(errno.ERANGE)
        _set_line(group, file, disk, None if text == "default" else text)
        return
    weight = unsigned(value.removeprefix("default").strip())
    if not 1 <= weight <= 1000:
        fail(errno.ERANGE)
    for name in ("blkio.bfq.weight", "blkio.bfq.weight_device", "io.bfq.weight"):
        if group.get(name).startswith("default"):
            group.set_key(name, "default", weight)
        else:
            group.put(name, str(weight))


def write_classid(group: Group, file: str, value: str) -> None:
    group.put(file, str(unsigned(value) % 2**32))


def write_ifpriomap(group: Group, file: str, value: str) -> None:
    words = value.split()
    if len(words) < 2 or not words[1].isdigit():
        fail(errno.EINVAL)
    if words[0] not in group.kernel.facts.interfaces:
        fail(errno.ENODEV)
    group.set_key(file, words[0], int(words[1]))


def write_misc(_group: Group, _file: str, _value: str) -> None:
    """misc_cg_max_write: this kernel has none of the resources (misc.capacity is empty)."""
    fail(errno.EINVAL)
