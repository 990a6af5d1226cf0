"""Mount options as people and config.json write them, and mounts made on descriptors.

Law: a mount is made detached (fsopen or open_tree), given its attributes, and attached to an open
directory or file (move_mount): no path is resolved twice.  Which mounts a container gets is decided
elsewhere.  Failures are `OSError`; those of a file system carry the kernel's own words where it has
any (the messages of fsopen(2)).

Source: mount(8), mount_setattr(2), config.md "Linux mount options" of the OCI specification.
"""

from __future__ import annotations

import os

from cgmgr import linux
from cgmgr.errors import RequestError
from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

#: option -> (attributes cleared, attributes set); with an "r" in front it holds for the whole tree
ATTRIBUTES: Final = {
    "ro": (0, linux.MOUNT_ATTR_RDONLY),
    "rw": (linux.MOUNT_ATTR_RDONLY, 0),
    "nosuid": (0, linux.MOUNT_ATTR_NOSUID),
    "suid": (linux.MOUNT_ATTR_NOSUID, 0),
    "nodev": (0, linux.MOUNT_ATTR_NODEV),
    "dev": (linux.MOUNT_ATTR_NODEV, 0),
    "noexec": (0, linux.MOUNT_ATTR_NOEXEC),
    "exec": (linux.MOUNT_ATTR_NOEXEC, 0),
    "noatime": (linux.MOUNT_ATTR__ATIME, linux.MOUNT_ATTR_NOATIME),
    "relatime": (linux.MOUNT_ATTR__ATIME, 0),
    "strictatime": (linux.MOUNT_ATTR__ATIME, linux.MOUNT_ATTR_STRICTATIME),
    "nodiratime": (0, linux.MOUNT_ATTR_NODIRATIME),
    "diratime": (linux.MOUNT_ATTR_NODIRATIME, 0),
    "nosymfollow": (0, linux.MOUNT_ATTR_NOSYMFOLLOW),
    "symfollow": (linux.MOUNT_ATTR_NOSYMFOLLOW, 0),
}
#: with an "r" in front it holds for the whole tree (mount_namespaces(7))
PROPAGATIONS: Final = {
    "private": linux.MS_PRIVATE,
    "slave": linux.MS_SLAVE,
    "shared": linux.MS_SHARED,
    "unbindable": linux.MS_UNBINDABLE,
}
BINDS: Final = ("bind", "rbind")
#: options that change what is mounted already, or that only mount(8) knows
_NOT_HERE: Final = ("remount", "move", "loop", "auto", "noauto", "user", "nofail", "tmpcopyup")


class Attributes(Record):
    """What mount_setattr(2) is asked for, for one mount or for a whole tree."""

    cleared: int = 0
    set: int = 0


NO_ATTRIBUTES: Final = Attributes()


class Options(Record):
    """Parsed options.  `data` are those of the file system, "key" or "key=value"."""

    here: Attributes = NO_ATTRIBUTES
    below: Attributes = NO_ATTRIBUTES
    propagation: int = 0
    bind: bool = False
    recursive: bool = False
    data: tuple[str, ...] = ()


def parse(words: Iterable[str]) -> Options:
    """Options in their order, a later one overriding an earlier one on the same attribute.

    Raises `RequestError` for one that has no meaning in a container.
    """
    here, below = (0, 0), (0, 0)
    propagation, bind, recursive = 0, False, False
    data: list[str] = []
    for word in words:
        plain = word.removeprefix("r")
        if word in ATTRIBUTES:
            here = _with(here, ATTRIBUTES[word])
        elif word != plain and plain in ATTRIBUTES:
            below = _with(below, ATTRIBUTES[plain])
        elif word in PROPAGATIONS:
            propagation = PROPAGATIONS[word]
        elif word != plain and plain in PROPAGATIONS:
            propagation = PROPAGATIONS[plain] | linux.MS_REC
        elif word in BINDS:
            bind, recursive = True, word == "rbind"
        elif word in _NOT_HERE:
            raise RequestError(
                f"mount option {word!r} has no meaning in a container",
                operation="parse mount options",
                value=word,
            )
        elif word not in ("", "defaults"):
            data.append(word)
    return Options(
        here=_attributes(here),
        below=_attributes(below),
        propagation=propagation,
        bind=bind,
        recursive=recursive,
        data=tuple(data),
    )


def _with(attributes: tuple[int, int], more: tuple[int, int]) -> tuple[int, int]:
    cleared, set_ = attributes
    return (cleared & ~more[1]) | more[0], (set_ & ~more[0]) | more[1]


def _attributes(masks: tuple[int, int]) -> Attributes:
    return Attributes(cleared=masks[0], set=masks[1]) if any(masks) else NO_ATTRIBUTES


def new(fstype: str, source: str, options: Options) -> int:
    """A detached mount of a file system.  The caller closes the descriptor."""
    context = linux.fsopen(fstype)
    try:
        if source:
            linux.fsconfig(context, linux.FSCONFIG_SET_STRING, "source", source)
        for word in options.data:
            key, equals, value = word.partition("=")
            if equals:
                linux.fsconfig(context, linux.FSCONFIG_SET_STRING, key, value)
            else:
                linux.fsconfig(context, linux.FSCONFIG_SET_FLAG, key)
        linux.fsconfig(context, linux.FSCONFIG_CMD_CREATE)
        return linux.fsmount(context, options.here.set | options.below.set)
    except OSError as error:
        raise _in_kernels_words(context, error) from None
    finally:
        os.close(context)


def clone(dir_fd: int, path: str, *, recursive: bool) -> int:
    """A detached copy of the mount at `path`, or at `dir_fd` itself where that is empty."""
    flags = linux.OPEN_TREE_CLONE | (linux.AT_RECURSIVE if recursive else 0)
    return linux.open_tree(dir_fd, path, flags | (0 if path else linux.AT_EMPTY_PATH))


def set_attributes(mount_fd: int, options: Options) -> None:
    """Give a mount, detached or not, the attributes and the propagation of the options."""
    for attributes, depth in ((options.below, linux.AT_RECURSIVE), (options.here, 0)):
        if attributes is not NO_ATTRIBUTES:
            linux.mount_setattr(
                mount_fd,
                "",
                linux.AT_EMPTY_PATH | depth,
                attr_set=attributes.set,
                attr_clr=attributes.cleared,
            )
    if options.propagation:
        depth = linux.AT_RECURSIVE if options.propagation & linux.MS_REC else 0
        kind = options.propagation & ~linux.MS_REC
        linux.mount_setattr(mount_fd, "", linux.AT_EMPTY_PATH | depth, propagation=kind)


def attach(mount_fd: int, target_fd: int) -> None:
    """Mount a detached mount on an open directory or file."""
    flags = linux.MOVE_MOUNT_F_EMPTY_PATH | linux.MOVE_MOUNT_T_EMPTY_PATH
    linux.move_mount(mount_fd, "", target_fd, "", flags)


def _in_kernels_words(context: int, error: OSError) -> OSError:
    """The error with what the file system said about it, "e TEXT" a line (fs/fs_context.c)."""
    try:
        said = os.read(context, 4096).decode("utf-8", "replace").strip()
    except OSError:
        return error
    return OSError(error.errno, said.removeprefix("e "))
