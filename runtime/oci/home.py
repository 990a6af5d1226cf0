"""Where the state of containers is, and what state one is in.

Law: what is kept between commands, and how it is found again; nothing of a container is changed
here.  Below the root (--root, /run/cgmgr by default) a container has its record and its lock
(`cgmgr.runtime.state`), the records of its group (`cgmgr.rundir`), and a folder of its own:

    oci/ID/config.json    as it was when the container was made: clients rewrite theirs
    oci/ID/gate           a fifo on which the first process waits for `start`; then it is gone
    oci/ID/failure        what kept the program from being executed after that
"""

from __future__ import annotations

import contextlib
import errno
import os

from cgmgr import owner
from cgmgr.errors import NoSuchGroup, kernel_error
from cgmgr.rundir import Rundir, default_root
from cgmgr.runtime.state import Containers
from cgmgr.statedir import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from cgmgr.manager import Manager
    from cgmgr.runtime.state import ContainerRecord

FOLDER: Final = "oci"
CREATING: Final = "creating"
CREATED: Final = "created"
RUNNING: Final = "running"
PAUSED: Final = "paused"
STOPPED: Final = "stopped"


class Home:
    """One root of state."""

    def __init__(self, root: str = "") -> None:
        self.root = os.path.abspath(root) if root else default_root()
        self.containers = Containers(self.root)
        self._managers: dict[str, Manager] = {}

    def folder(self, name: str) -> str:
        return f"{self.root}/{FOLDER}/{encode(name)}"

    def gate(self, name: str) -> str:
        return f"{self.folder(name)}/gate"

    def failure(self, name: str) -> str:
        return f"{self.folder(name)}/failure"

    def manager(self, driver: str) -> Manager:
        """The groups of containers, made by that driver."""
        if driver not in self._managers:
            from cgmgr.manager import Manager

            self._managers[driver] = Manager(driver=driver, rundir=Rundir(self.root))
        return self._managers[driver]

    def need(self, name: str) -> ContainerRecord:
        """The container's record; `NoSuchGroup` where there is none."""
        record = self.containers.load(name)
        if record is None:
            # containerd and CRI-O look for "does not exist"
            raise NoSuchGroup(
                f"container {name!r} does not exist",
                operation="find container",
                path=self.containers.path_of(name),
                value=name,
                errno=errno.ENOENT,
                hint="cgmgr-oci list",
            )
        return record

    def config(self, name: str) -> dict[str, Any]:
        """The config.json that the container was made from."""
        import json

        path = f"{self.folder(name)}/config.json"
        try:
            with open(path, "rb") as file:
                found: dict[str, Any] = json.load(file)
                return found
        except OSError as error:
            raise kernel_error("read config", path, error) from error

    def status(self, record: ContainerRecord) -> str:
        """One of the words of the specification, and "paused"."""
        if record.init is None:
            return CREATING if owner.alive(record.launcher) else STOPPED
        if not owner.alive(record.init):
            return STOPPED
        if record.stays and os.path.exists(self.gate(record.id)):
            return CREATED
        return PAUSED if self._frozen(record) else RUNNING

    def _frozen(self, record: ContainerRecord) -> bool:
        if not record.group:
            return False
        from cgmgr.errors import CgmgrError
        from cgmgr.freezer import THAWED

        try:
            return self.manager(record.driver).open(record.group).state != THAWED
        except CgmgrError:  # gone, or without a freezer
            return False

    def make(self, name: str, config: bytes) -> None:
        """The container's folder; the caller holds its lock."""
        folder = self.folder(name)
        try:
            os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
            self.remove(name)
            os.mkdir(folder, 0o700)
            with open(f"{folder}/config.json", "xb") as file:
                file.write(config)
            os.mkfifo(self.gate(name), 0o600)
        except OSError as error:
            raise kernel_error("make container", folder, error) from error

    def remove(self, name: str) -> None:
        """The container's folder is no more; nor was it, maybe."""
        folder = self.folder(name)
        try:
            with contextlib.suppress(FileNotFoundError):
                for file in os.listdir(folder):
                    os.unlink(f"{folder}/{file}")
                os.rmdir(folder)
        except OSError as error:
            raise kernel_error("delete container", folder, error) from error
