"""This interpreter's program, as nobody can write to it.

Law: descriptors of one file; who executes it is decided elsewhere.

A process of ours that enters a container runs the host's interpreter.  Whoever controls the
container can have /proc/self/exe executed there, and so get hold of the interpreter's file, which
can be written to once nobody executes it any more (CVE-2019-5736).  So it is executed from a copy
of its *mount* that is read-only, which costs a few calls and no memory.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys

from cgmgr import linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

#: no right to mount; no such calls in this kernel (5.12), or hidden by a seccomp filter; a mount
#: that cannot be copied.  Who makes a container looks again (`cgmgr.runtime.init`).
_NOT_TO_BE_HAD: Final = frozenset({errno.EPERM, errno.ENOSYS, errno.EINVAL})


def program(least: int = 0) -> tuple[int, int]:
    """The file of `sys.executable`: execute /proc/self/fd/N, N being the first descriptor.

    The second holds the mounts together until the loader is done: give the new process a copy.
    Both are numbered `least` or above; the caller closes them.

    Nobody can write through the first, nor through what it executes, where this machine allows
    that; else it is the plain file.  Raises `OSError`.
    """
    path = os.path.realpath(sys.executable)
    try:
        found = read_only(path)
    except OSError as error:
        if error.errno not in _NOT_TO_BE_HAD:
            raise
        plain = os.open(path, os.O_PATH | os.O_CLOEXEC)
        found = (plain, os.dup(plain))
    try:
        file, tree = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, least) for fd in found)
        return file, tree
    finally:
        for fd in found:
            os.close(fd)


def read_only(path: str) -> tuple[int, int]:
    """The file at `path` in a detached, read-only copy of the mount that holds it, and that copy.

    The copy begins at "/", because the loader looks for libraries beside a program ($ORIGIN) by the
    path that /proc/self/exe shows, and that is relative to where the copy begins.
    """
    alone = _mount_id(path) == _mount_id("/")
    depth = 0 if alone else linux.AT_RECURSIVE
    tree = linux.open_tree(linux.AT_FDCWD, "/", linux.OPEN_TREE_CLONE | depth)
    try:
        linux.mount_setattr(
            tree,
            "",
            linux.AT_EMPTY_PATH | depth,
            attr_set=linux.MOUNT_ATTR_RDONLY,
            propagation=linux.MS_PRIVATE,
        )
        return os.open(path.lstrip("/"), os.O_PATH | os.O_CLOEXEC, dir_fd=tree), tree
    except BaseException:
        os.close(tree)
        raise


def _mount_id(path: str) -> int:
    """The id of the mount that holds a path (proc_pid_fdinfo(5))."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
    finally:
        os.close(fd)
    return int(fields["mnt_id"])
