"""Raw files of the v2 hierarchy: which can be written on this host, and what to say instead.

Law: pure.  A file belongs to the hierarchy that holds its controller; where that is v1, or the name
is v1's, the file is not there, and the complaint names the word for the same setting.
"""

from __future__ import annotations

import contextlib

from cgmgr.controllers import TABLE as CONTROLLERS
from cgmgr.controllers.base import Scene
from cgmgr.errors import ControllerUnavailable, HostError, RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.host import Hierarchy, Host
    from cgmgr.resources import Raw, Resources

#: what begins the names of the files that every cgroup2 group has, whatever its controllers
CORE = "cgroup"


def check(raw: Raw, host: Host) -> None:
    """Raises `ControllerUnavailable` or `HostError` for a file that this host has not."""
    controller = raw.file.partition(".")[0]
    if controller == CORE:
        if host.v2 is None:
            raise HostError(
                f"{raw.file} cannot be set: no cgroup2 hierarchy is mounted",
                operation=f"set {raw.file}",
                value=raw.value,
                hint="mkdir -p /sys/fs/cgroup/unified && "
                "mount -t cgroup2 none /sys/fs/cgroup/unified",
            )
        return
    holder = host.holder(_V1_CONTROLLERS.get(controller, controller))
    if holder is None:
        host.need(controller)
    elif holder.version == 1 or _no_such_file(raw.file):
        raise _not_there(raw, holder, host)


def _no_such_file(file: str) -> bool:
    """Whether it is one of v1's files, or one of our words with a dot in it."""
    from cgmgr.resources.files import V1, V2
    from cgmgr.resources.words import NAMES

    return file not in V2 and (file in V1 or file.replace(".", "_") in NAMES)


def _not_there(raw: Raw, holder: Hierarchy, host: Host) -> ControllerUnavailable:
    controller = raw.file.partition(".")[0]
    where = "v1" if holder.version == 1 else "cgroup2"
    words = _words(raw)
    advice, hint = f"; use {', '.join(words)}" if words else "", _spelled(words)
    # a word that is right will say itself what is wrong with the value
    with contextlib.suppress(RequestError):
        try:
            _try(words, holder, host)
        except HostError as error:  # such as: v1 cannot throttle
            advice, hint = f": {str(error).partition(': ')[2] or error}", error.hint
    return ControllerUnavailable(
        f"{controller} is on {where} at {holder.mountpoint}, which has no {raw.file}{advice}",
        controller=controller,
        missing_at=holder.mountpoint,
        operation=f"set {raw.file}",
        path=holder.mountpoint,
        value=raw.value,
        hint=hint,
    )


def _words(raw: Raw) -> dict[str, str]:
    """The words that say the same as the file."""
    from cgmgr.resources.files import V1, V2, from_files
    from cgmgr.resources.words import NAMES, words_of

    plain = raw.file.replace(".", "_")
    if raw.file not in V2 and plain in NAMES:
        return {plain: raw.value}
    version = 1 if raw.file in V1 and raw.file not in V2 else 2
    try:
        return words_of(from_files(version, {raw.file: raw.value}))
    except (RequestError, ValueError):
        return {}


def _spelled(words: dict[str, str]) -> str | None:
    from shlex import quote

    return " ".join(quote(f"{word}={value}") for word, value in words.items()) or None


def _try(words: dict[str, str], holder: Hierarchy, host: Host) -> None:
    from cgmgr.resources.words import resources_of

    said: Resources = resources_of(**words)
    for name in holder.controllers:
        if name in CONTROLLERS and CONTROLLERS[name].wants(said):
            scene = Scene(version=holder.version, where=holder.mountpoint, facts=host.facts)
            CONTROLLERS[name].rows(said, scene)


#: what begins the names of v1's files -> the controller
_V1_CONTROLLERS = {"blkio": "io"}
