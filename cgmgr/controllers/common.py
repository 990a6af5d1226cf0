"""What the controllers share: limits as text, files that a kernel may lack, refusals.

Law: pure, and nothing here knows a single file.  A complaint names the setting by its word
(`cgmgr.resources.words`), which is what was asked, not by the file or the model's field.
"""

from __future__ import annotations

import errno

from cgmgr.errors import ControllerUnavailable, RequestError
from cgmgr.units import Max

from .base import Alternative, Row, Scene

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.errors import CgmgrError

#: in the hint of a controller's `explain`: the name of the group above, which a plan knows
ABOVE = "{above}"


def limit(value: int | Max, version: int) -> str:
    """A limit as the kernel takes it: no limit is "max" on v2 and -1 on v1."""
    if isinstance(value, Max):
        return "max" if version == 2 else "-1"
    return str(value)


def flag(value: bool) -> str:
    """A switch as the kernel takes it."""
    return "1" if value else "0"


def lacks(scene: Scene, file: str) -> bool:
    """Whether it was observed that the group has no such file."""
    return scene.files.get(file, "") is None


def where_there(word: str, row: Row, scene: Scene, why: str, *, neutral: bool) -> list[Row]:
    """A row for a file that some kernels lack; `word` is the setting that it holds.

    `neutral` says that the value is what such a kernel does anyway: then there is nothing to write.
    Else it is `ControllerUnavailable`, with `why` as the reason.
    """
    if lacks(scene, row.file):
        if neutral:
            return []
        raise unheld(row.controller, word, row.value, scene, f"{why} ({row.file})")
    if scene.new and neutral:
        return [row.replace(alternative=Alternative(errno=errno.ENOENT, why=why))]
    return [row]


def unheld(
    controller: str, word: str, value: object, scene: Scene, why: str, hint: str | None = None
) -> ControllerUnavailable:
    """A setting that this version of the hierarchy, or this kernel, cannot hold."""
    return ControllerUnavailable(
        f"{word} cannot be held here: {why}",
        controller=controller,
        missing_at=scene.where or None,
        operation=f"set {word}",
        path=scene.where or None,
        value=str(value),
        hint=hint,
    )


def unfit(
    word: str, value: object, scene: Scene, why: str, hint: str | None = None
) -> RequestError:
    """A value that this host cannot hold."""
    return RequestError(
        f"{word} cannot be {value}: {why}",
        operation=f"set {word}",
        path=scene.where or None,
        value=str(value),
        hint=hint,
    )


def because(error: CgmgrError, why: str, hint: str | None = None) -> CgmgrError:
    """The kernel's refusal, with what it means here."""
    error.message = f"{error.message} ({why})"
    error.hint = hint or error.hint
    return error


def named(error: CgmgrError, above: str) -> CgmgrError:
    """A hint about the group above, with its name; of the root, which is no group of ours, there is
    nothing to say."""
    if error.hint is not None and ABOVE in error.hint:
        from shlex import quote

        error.hint = error.hint.replace(ABOVE, quote(above)) if above != "/" else None
    return error


def keyed_line(text: str | None, key: str) -> str | None:
    """What a table says of a key: the rest of its line, None where it has no such line."""
    for line in (text or "").splitlines():
        name, _, rest = line.partition(" ")
        if name == key:
            return rest.strip()
    return None
