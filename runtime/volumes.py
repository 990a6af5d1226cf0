"""What --volume and --tmpfs say.

Law: docker's grammar, text in, records out; only `parse_volume` may look whether SELinux is there.
Where this is stricter than docker the error says so.
"""

from __future__ import annotations

import os

from cgmgr.errors import RequestError
from cgmgr.record import Record

from . import mounts
from .layout import LINKS
from .root import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

#: -v's words -> those of config.json.  Docker's `ro` holds for what is mounted below too (v25), and
#: so does ours.
_VOLUME_WORDS: Final = {
    "": (),
    "ro": ("rro",),
    "rw": (),
    "private": ("private",),
    "rprivate": ("rprivate",),
    "slave": ("slave",),
    "rslave": ("rslave",),
}
_LABELS: Final = ("z", "Z")
_SHARED: Final = ("shared", "rshared")
#: what docker knows, and why it is not here
_ELSEWHERE: Final = {
    "nocopy": "nocopy is for named volumes, which are not supported",
    **{
        word: f"{word} is for Docker Desktop, and does nothing on Linux: leave it out"
        for word in ("consistent", "cached", "delegated")
    },
}
#: docker's default for --tmpfs
_TMPFS_DEFAULT: Final = ("rw", "noexec", "nosuid", "nodev")
_TMPFS_DATA: Final = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "huge", "mpol")

#: what may be bound below /proc: files that a virtualised view replaces (runc, checkProcMount)
_PROC_FILES: Final = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "net/dev",
        "sys/kernel/ns_last_pid",
    )
)
#: a container has its own, with more of its own mounted in it
_OWN: Final = {
    **dict.fromkeys(("/dev", "/dev/pts"), "a container has one of its own; --device adds to it"),
    "/sys": "a container has one of its own; only what is in it may be replaced",
    **dict.fromkeys((link for _, link in LINKS), "that is a symbolic link in every container"),
}


class Volume(Record):
    """A file or directory of the host in the container; `options` are those of config.json."""

    source: str
    destination: str
    options: tuple[str, ...] = ()

    def check(self) -> None:
        if not self.source.startswith("/"):
            raise _refused("--volume", self.source, "the source must be an absolute path")
        _check_destination("--volume", self.destination)


class Tmpfs(Record):
    """A tmpfs of the container's own."""

    destination: str
    options: tuple[str, ...] = _TMPFS_DEFAULT

    def check(self) -> None:
        _check_destination("--tmpfs", self.destination)


def parse_volume(text: str, *, selinux: str = "/sys/fs/selinux/enforce") -> Volume:
    """SRC:DST[:OPTION[,OPTION...]].

    Options: ro, rw, private, rprivate (what there is without one), slave, rslave.  z and Z, which
    relabel for SELinux, do nothing where SELinux is not, as with docker, and are refused where it
    is.  Named volumes are refused: there are none.
    """
    source, colon, rest = text.partition(":")
    destination, _, words = rest.partition(":")
    if not colon and text.startswith("/"):
        reason = "anonymous volumes are not supported; write SOURCE:DESTINATION[:OPTIONS]"
        raise _refused("--volume", text, reason, hint=f"--tmpfs {text}")
    if not colon or not source or not destination:
        raise _refused("--volume", text, "write SOURCE:DESTINATION[:OPTIONS]")
    if not source.startswith("/"):
        raise _refused(
            "--volume",
            text,
            "named volumes are not supported, and a relative source would be one",
            hint=f"-v {os.path.abspath(source)}:{rest}",
        )
    options = (option for word in words.split(",") for option in _options(word, text, selinux))
    return Volume(
        source=clean(source),
        destination=_absolute("--volume", destination),
        options=tuple(options),
    )


def _options(word: str, text: str, selinux: str) -> tuple[str, ...]:
    """The options of config.json that a word of the volume `text` stands for."""
    if word in _VOLUME_WORDS:
        return _VOLUME_WORDS[word]
    if word in _LABELS:
        if os.path.exists(selinux):
            raise _refused("--volume", text, f"{word} would relabel, which is not supported")
        return ()
    if word in _SHARED:
        reason = f"{word}: a container's mounts never reach the host"
        raise _refused("--volume", text, reason, hint=f"-v {text.rpartition(':')[0]}:rslave")
    raise _refused("--volume", text, _ELSEWHERE.get(word, f"unknown option {word!r}"))


def parse_tmpfs(text: str) -> Tmpfs:
    """DST[:OPTION[,OPTION...]]; without options rw,noexec,nosuid,nodev, as docker's."""
    destination, _, words = text.partition(":")
    options: list[str] = [*_TMPFS_DEFAULT]
    for word in words.split(",") if words else ():
        key, equals, value = word.partition("=")
        plain = not equals and word in mounts.ATTRIBUTES
        if not plain and not (equals and value and key in _TMPFS_DATA):
            raise _refused("--tmpfs", text, f"unknown option {word!r}")
        options.append(word)
    return Tmpfs(destination=_absolute("--tmpfs", destination), options=tuple(options))


def _absolute(flag: str, path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise _refused(flag, path, "the destination must be an absolute path")
    return clean(path)


def _check_destination(flag: str, path: str) -> None:
    place = _absolute(flag, path)
    if place == "/":
        raise _refused(flag, path, "the destination must not be /")
    if place in _OWN:
        raise _refused(flag, path, _OWN[place])
    inside_proc = place == "/proc" or place.startswith("/proc/")
    if inside_proc and place not in _PROC_FILES:
        raise _refused(flag, path, "nothing may be mounted over /proc or in it")


def _refused(flag: str, text: str, reason: str, hint: str | None = None) -> RequestError:
    return RequestError(f"{flag} {text!r}: {reason}", operation=flag, value=text, hint=hint)
