"""The steps by which a container's first process furnishes its root file system.

Law: a step is frozen data that says itself and does itself, within namespaces of its own; what it
makes ends with them, so nothing is ever undone.  Paths of the container go through `Root`, which no
link leads out of; paths of the host are the caller's own words.  Which steps a container needs is
decided in `cgmgr.runtime.compile`; the steps of identity are in `cgmgr.runtime.identity`.

A step raises `OSError`; who executes it adds what the step was.
"""

from __future__ import annotations

import errno
import os
import stat

from cgmgr import linux
from cgmgr.record import Record

from . import mounts
from .root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

_NO_LINKS: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
#: major and minor of /dev/null (Documentation/admin-guide/devices.txt)
NULL: Final = (1, 3)


class Stage:
    """Where steps are executed: what those before have made.

    `send_terminal` passes a descriptor of the terminal's master to whoever started the container.
    """

    def __init__(self, send_terminal: Callable[[int], None]) -> None:
        self.send_terminal = send_terminal
        self._root: Root | None = None
        self._empty = -1
        self._null = -1

    @property
    def root(self) -> Root:
        """The directory that becomes "/"."""
        if self._root is None:
            raise AssertionError("the root file system is mounted before anything in it")
        return self._root

    @root.setter
    def root(self, root: Root) -> None:
        self._root = root

    def empty_directory(self) -> int:
        """One empty read-only directory, detached; the caller attaches and closes it.

        The first is the mount itself: of one that is detached there is no copy before Linux 6.15.
        """
        if self._empty < 0:
            options = mounts.parse(("ro", "nosuid", "nodev", "noexec", "mode=755", "nr_inodes=2"))
            self._empty = mounts.new("tmpfs", "tmpfs", options)
            return os.dup(self._empty)
        return mounts.clone(self._empty, "", recursive=False)

    def null_device(self) -> int:
        """A detached copy of the host's /dev/null; the caller closes it."""
        if self._null < 0:
            self._null = open_device("/dev/null", NULL)
        return read_only_device(self._null)


def honest(target: int, destination: str) -> int:
    """The descriptor of a mount's place, unless a symbolic link of the root has led it into procfs
    or sysfs: masks would then lie on another tree than the one at /proc (CVE-2019-16884)."""
    magic = linux.fstatfs_type(target)
    for kind, place in ((linux.PROC_SUPER_MAGIC, "/proc"), (linux.SYSFS_MAGIC, "/sys")):
        if magic == kind and destination != place and not destination.startswith(f"{place}/"):
            os.close(target)
            raise OSError(errno.ELOOP, f"it leads into {place}", destination)
    return target


def read_only_device(device: int) -> int:
    """A detached copy of a host's device node.  The inode is the host's: read-only, its mode and
    owner cannot be changed through it, while the device can be written to."""
    tree = mounts.clone(device, "", recursive=False)
    try:
        mounts.set_attributes(tree, mounts.parse(("ro",)))
    except OSError:
        os.close(tree)
        raise
    return tree


def open_device(path: str, number: tuple[int, int], kind: int = stat.S_IFCHR) -> int:
    """A device of the host, by its number: whatever else is at the path is refused."""
    fd = os.open(path, _NO_LINKS)
    status = os.fstat(fd)
    found = (os.major(status.st_rdev), os.minor(status.st_rdev))
    if stat.S_IFMT(status.st_mode) != kind or found != number:
        os.close(fd)
        raise OSError(errno.ENODEV, f"not device {number[0]}:{number[1]}", path)
    return fd


def attach_closing(mount_fd: int, target_fd: int) -> None:
    """`mounts.attach`, with both descriptors closed whatever happens."""
    try:
        mounts.attach(mount_fd, target_fd)
    finally:
        os.close(mount_fd)
        os.close(target_fd)


class Step(Record):
    """One thing that is done inside the new namespaces."""

    def describe(self) -> str:
        """The step in one line, as a shell would do it where a shell could."""
        raise AssertionError(f"{type(self).__name__} does not describe itself")

    def execute(self, stage: Stage) -> None:
        """Do it.  Raises `OSError`."""
        raise AssertionError(f"{type(self).__name__} does not execute")


class Propagation(Step):
    """How mounts and unmounts of the host reach this namespace; nothing goes the other way."""

    kind: str

    def describe(self) -> str:
        return f"mount --make-{self.kind} /"

    def execute(self, stage: Stage) -> None:
        flag = mounts.parse((self.kind,)).propagation
        linux.mount(None, "/", None, flag)


class BindRoot(Step):
    """A directory of the host as the root, without any layer above it."""

    path: str

    def describe(self) -> str:
        return f"mount --rbind {self.path} {self.path}"

    def execute(self, stage: Stage) -> None:
        target = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        tree = mounts.clone(target, "", recursive=True)
        root = Root(tree)
        mounts.set_attributes(tree, mounts.parse(("rprivate",)))
        try:
            mounts.attach(tree, target)
        finally:
            os.close(target)
        stage.root = root


class MountNew(Step):
    """A new file system.  `exact` refuses a destination that is, or lies behind, a symbolic link:
    whoever finds /proc must find procfs (CVE-2019-19921)."""

    fstype: str
    destination: str
    options: tuple[str, ...] = ()
    source: str = ""
    exact: bool = False

    def describe(self) -> str:
        options = f" -o {','.join(self.options)}" if self.options else ""
        return f"mount -t {self.fstype}{options} {self.source or 'none'} {self.destination}"

    def execute(self, stage: Stage) -> None:
        options = mounts.parse(self.options)
        target = honest(self._target(stage.root), self.destination)
        try:
            mount = mounts.new(self.fstype, self.source, options)
        except OSError:
            os.close(target)
            raise
        if options.propagation:
            mounts.set_attributes(mount, mounts.Options(propagation=options.propagation))
        if self.fstype == "tmpfs":
            stage.root.own(mount)
        attach_closing(mount, target)

    def _target(self, root: Root) -> int:
        if not self.exact:
            return root.ensure(self.destination, directory=True)
        try:
            return root.open_exact(self.destination, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            return root.ensure(self.destination, directory=True)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise OSError(errno.ELOOP, "must not be a symbolic link", self.destination) from None


class MountBind(Step):
    """A file or directory of the host, with what is mounted below it if that is asked for."""

    source: str
    destination: str
    options: tuple[str, ...] = ("rbind", "rprivate")

    def describe(self) -> str:
        return f"mount -o {','.join(self.options)} {self.source} {self.destination}"

    def execute(self, stage: Stage) -> None:
        options = mounts.parse(self.options)
        if not options.propagation:
            options = options.replace(propagation=linux.MS_PRIVATE | linux.MS_REC)
        try:
            tree = mounts.clone(linux.AT_FDCWD, self.source, recursive=options.recursive)
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno or 0), self.source) from None
        try:
            mounts.set_attributes(tree, options)
            directory = stat.S_ISDIR(os.fstat(tree).st_mode)
            target = stage.root.ensure(self.destination, directory=directory)
            target = honest(target, self.destination)
        except OSError:
            os.close(tree)
            raise
        attach_closing(tree, target)


class MakeSymlink(Step):
    """A symbolic link in a file system that was mounted before."""

    target: str
    path: str

    def describe(self) -> str:
        return f"ln -s {self.target} {self.path}"

    def execute(self, stage: Stage) -> None:
        stage.root.symlink(self.target, self.path)


class MakeDirectory(Step):
    """A directory in what was mounted before."""

    path: str

    def describe(self) -> str:
        return f"mkdir -p {self.path}"

    def execute(self, stage: Stage) -> None:
        os.close(stage.root.ensure(self.path, directory=True))


class ChangeMount(Step):
    """Other attributes for what is mounted at a path."""

    path: str
    options: tuple[str, ...]

    def describe(self) -> str:
        return f"mount -o remount,bind,{','.join(self.options)} {self.path}"

    def execute(self, stage: Stage) -> None:
        fd = stage.root.open(self.path)
        try:
            mounts.set_attributes(fd, mounts.parse(self.options))
        finally:
            os.close(fd)


class Mask(Step):
    """Hide a path: an empty directory over a directory, /dev/null over all else, if it is there."""

    path: str

    def describe(self) -> str:
        return f"hide {self.path}, if it is there"

    def execute(self, stage: Stage) -> None:
        try:
            target = stage.root.open(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return
        directory = stat.S_ISDIR(os.fstat(target).st_mode)
        cover = stage.empty_directory() if directory else stage.null_device()
        attach_closing(cover, target)


class ReadOnly(Step):
    """Make a path and what is mounted below it read-only, if it is there."""

    path: str

    def describe(self) -> str:
        return f"mount -o rbind,rro {self.path} {self.path}, if it is there"

    def execute(self, stage: Stage) -> None:
        try:
            target = stage.root.open(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return
        tree = mounts.clone(target, "", recursive=True)
        mounts.set_attributes(tree, mounts.parse(("rro",)))
        attach_closing(tree, target)


class SwitchRoot(Step):
    """Make the root file system "/" and let go of the host's (pivot_root(2), "." over ".")."""

    def describe(self) -> str:
        return "pivot_root . . && umount -l ."

    def execute(self, stage: Stage) -> None:
        old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fchdir(stage.root.fd)
            linux.pivot_root(".", ".")
            os.fchdir(old)
            linux.umount2(".", linux.MNT_DETACH)
        finally:
            os.close(old)
        os.chdir("/")
