"""A container's root: an overlay of read-only layers below one directory that takes the changes.

Law: the options of an overlay mount, and the step that makes it.  The step runs in the container's
own mount namespace, so the host's mount table never shows it (docs/adr/0002).

A bundle's directory holds, for the step:

    upper/      what the container writes; empty when its first program starts
    work/       overlayfs's own
    merged/     where the overlay is mounted, inside the container's mount namespace only

A mount point that is missing would have to be made in `upper`, where it would look like something
that the container wrote.  So a small tmpfs is mounted on `merged`, a first overlay of the layers
below a directory in it is made, and in that the mount points (overlayfs copies the owners and modes
of the directories above them); what came to lie in the tmpfs becomes one more layer of the real
overlay.  It is a tmpfs because overlayfs refuses a layer that lies below another, which may be "/".

Source: Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os

from cgmgr import linux

from .root import Root
from .steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from .steps import Stage

UPPER: Final = "upper"
WORK: Final = "work"
MERGED: Final = "merged"
DIRECTORIES: Final = (UPPER, WORK, MERGED)
#: in the tmpfs that is mounted on `merged` where mount points are missing
_SCAFFOLD: Final = f"{MERGED}/scaffold"
_SCAFFOLD_WORK: Final = f"{MERGED}/work"
_SCAFFOLDED: Final = f"{MERGED}/merged"

#: mount(2) copies one page of options, the last byte of which is the terminating zero
OPTIONS_MAX: Final = 4095
#: kept in what the bundle records and in what the kernel shows the same on every distribution:
#: each of them has a kernel configuration that turns it on (overlayfs.rst)
_FIXED: Final = ("index=off", "metacopy=off", "redirect_dir=off")


def escape(path: str) -> str:
    """A path as it stands in an option: a colon parts layers, a comma options."""
    for special in ("\\", ":", ","):
        path = path.replace(special, "\\" + special)
    return path


def join_layers(lowers: Iterable[str]) -> str:
    """The value of lowerdir=, topmost layer first."""
    return ":".join(escape(lower) for lower in lowers)


def split_layers(text: str) -> tuple[str, ...]:
    """The layers in a value of lowerdir=, unescaped."""
    layers = [""]
    characters = iter(text)
    for character in characters:
        if character == "\\":
            layers[-1] += next(characters, "")
        elif character == ":":
            layers.append("")
        else:
            layers[-1] += character
    return tuple(layer for layer in layers if layer)


def mount_options(lowers: Iterable[str], upper: str, work: str, *, volatile: bool = False) -> str:
    """The options of an overlay mount."""
    words = (
        f"lowerdir={join_layers(lowers)}",
        f"upperdir={escape(upper)}",
        f"workdir={escape(work)}",
        *_FIXED,
        *(("volatile",) if volatile else ()),
    )
    return ",".join(words)


class MountOverlay(Step):
    """The overlay of a bundle, with the mount points that are going to be used in it.

    `volatile` leaves out every sync (Linux 5.10): for a container that is thrown away, and whose
    upper cannot be mounted again after a crash.
    """

    bundle: str
    lowers: tuple[str, ...]
    volatile: bool = False
    directories: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def describe(self) -> str:
        options = mount_options(self.lowers, UPPER, WORK, volatile=self.volatile)
        return f"cd {self.bundle} && mount -t overlay -o nodev,{options} overlay {MERGED}"

    def execute(self, stage: Stage) -> None:
        os.chdir(self.bundle)
        lowers, place = self.lowers, MERGED
        if self._lacks_a_point():
            self._scaffold()
            lowers, place = (_SCAFFOLD, *lowers), _SCAFFOLDED
        options = mount_options(lowers, UPPER, WORK, volatile=self.volatile)
        stage.root = _mount(options, place)

    def _lacks_a_point(self) -> bool:
        """Whether a mount point is missing.  Of several layers only the overlay could tell."""
        only, *more = self.lowers
        if more:
            return bool(self.directories or self.files)
        fd = os.open(only, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            lower = Root(fd)
            return any(lower.kind(path) is None for path in (*self.directories, *self.files))
        finally:
            os.close(fd)

    def _scaffold(self) -> None:
        """Make the mount points in a tmpfs above the layers."""
        flags = linux.MS_NOSUID | linux.MS_NODEV
        linux.mount("tmpfs", MERGED, "tmpfs", flags, "mode=755,size=4m")
        for path in (_SCAFFOLD, _SCAFFOLD_WORK, _SCAFFOLDED):
            os.mkdir(path)
        root = _mount(mount_options(self.lowers, _SCAFFOLD, _SCAFFOLD_WORK), _SCAFFOLDED)
        try:
            for paths, directory in ((self.directories, True), (self.files, False)):
                for path in paths:
                    # who needs it says what is there instead
                    with contextlib.suppress(NotADirectoryError, IsADirectoryError):
                        os.close(root.ensure(path, directory=directory))
        finally:
            os.close(root.fd)
        linux.umount2(_SCAFFOLDED, linux.UMOUNT_NOFOLLOW)


def _mount(options: str, place: str) -> Root:
    """Mount an overlay and open it.  Devices are only where a step put them: nodev.

    Raises `OSError`, E2BIG where the options are more than mount(2) takes: it would cut them.
    """
    size = len(os.fsencode(options))
    if size > OPTIONS_MAX:
        raise OSError(
            errno.E2BIG, f"the layers' paths need {size} bytes of {OPTIONS_MAX}: shorten them"
        )
    linux.mount("overlay", place, "overlay", linux.MS_NODEV, options)
    root = Root(os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    root.own(root.fd)
    return root


def prepare(bundle: str, lowers: tuple[str, ...]) -> None:
    """Make a bundle's directories.  `upper` gets owner and mode of the topmost layer, because the
    container's "/" shows those of `upper`.  Raises `OSError`."""
    for name in DIRECTORIES:
        os.mkdir(f"{bundle}/{name}", 0o700)
    status = os.stat(lowers[0])
    os.chown(f"{bundle}/{UPPER}", status.st_uid, status.st_gid)
    os.chmod(f"{bundle}/{UPPER}", status.st_mode & 0o7777)


def describe(bundle: str, lowers: tuple[str, ...]) -> list[str]:
    """What `prepare` does, a line each."""
    upper = f"{bundle}/{UPPER}"
    return [
        *(f"mkdir -m 700 {bundle}/{name}" for name in DIRECTORIES),
        *(f"{command} --reference={lowers[0]} {upper}" for command in ("chown", "chmod")),
    ]
