"""How a container comes to be: `create` and `run`, from a bundle to a first process that waits.

Law: puts the parts together (config, group, first process, record) and takes them apart again when
one fails; what each does is decided where it lives.  The first process is a child of this one and,
once this has ended, of whoever adopts orphans: the client's shim or monitor.  Nobody stays between.

Source: runtime.md of the OCI runtime specification, "create"; facts of runc's behaviour that the
clients count on.
"""

from __future__ import annotations

import errno
import os

from cgmgr.errors import (
    CgmgrError,
    GroupBusy,
    NameTaken,
    NoSuchGroup,
    RequestError,
    kernel_error,
)
from cgmgr.owner import Owner
from cgmgr.record import Record
from cgmgr.resources.document import Node
from cgmgr.runtime import launcher
from cgmgr.runtime.state import ContainerRecord

from . import handing
from .attending import check_console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final

    from cgmgr.group import Group
    from cgmgr.manager import Manager
    from cgmgr.resources import Resources
    from cgmgr.runtime.compile import Setup
    from cgmgr.runtime.launcher import Init

    from .home import Home

CONFIG: Final = "config.json"


class Order(Record):
    """What `create` is asked for, beside the config.json: where the bundle is, and what of this
    process the container gets."""

    name: str
    bundle: str
    systemd: bool = False
    pid_file: str = ""
    console_socket: str = ""
    pidfd_socket: str = ""
    kept_fds: int = 0
    new_keyring: bool = True


def create(order: Order, home: Home, *, detached: bool, say: Callable[[str], None]) -> Init:
    """Make a container: everything but its program runs.  `detached` says that nobody will be here
    to hold its terminal; `say` is told each step.

    Raises `RequestError` before anything is made, `NameTaken`, and whatever a part cannot do; then
    nothing of it is left.
    """
    check_id(order.name)
    path = os.path.abspath(order.bundle or ".")
    text = read(f"{path}/{CONFIG}")
    config = parsed(text, f"{path}/{CONFIG}")
    asked = bool(Node(config, CONFIG).node("process").boolean("terminal"))
    check_console(asked=asked, socket=order.console_socket, detached=detached)
    driver = "systemd" if order.systemd else "cgroupfs"
    host = home.manager(driver).driver.host
    setup = launcher.compiled(config, path, host)
    resources = _resources(config)
    for number, line in enumerate(setup.describe(), 1):
        say(f"{number}. {line}")
    with home.containers.lock(order.name):
        _claim(order.name, path, home)
        try:
            home.make(order.name, text)
            return _make(order, config, setup, resources, home)
        except BaseException:
            home.remove(order.name)
            home.containers.remove(order.name)
            raise


def check_id(name: str) -> None:
    """Raise `RequestError` for what is no container's id: runc's letters, and a file's name."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-."
    if not name or set(name) - set(letters) or name in (".", ".."):
        raise RequestError(
            f"invalid id {name!r}: it has letters, digits, and _ + - .",
            operation="create container",
            value=name,
        )
    if len(name) > MOST_ID:
        raise RequestError(
            f"invalid id: it has {len(name)} characters, and {MOST_ID} are the most",
            operation="create container",
            value=name,
        )


MOST_ID: Final = 1024


def _claim(name: str, path: str, home: Home) -> None:
    if home.containers.load(name) is not None:
        raise NameTaken(
            f"container with id exists: {name}",
            operation="create container",
            path=home.containers.path_of(name),
            value=name,
            errno=errno.EEXIST,
            hint=f"cgmgr-oci delete {name}",
        )
    record = ContainerRecord.of_this_process(name, path).replace(stays=True)
    home.containers.save(record)


def _make(
    order: Order, config: Mapping[str, Any], setup: Setup, resources: Resources, home: Home
) -> Init:
    group = _group(order, config, resources, home)
    try:
        with group.placement() as place:
            launch = launcher.Launch(
                host=group.host,
                placement=place,
                run_root=home.root,
                id=order.name,
                gate=home.gate(order.name),
                failure=home.failure(order.name),
                kept_fds=order.kept_fds,
                new_keyring=order.new_keyring,
            )
            init = launcher.create(setup, launch)
        try:
            record = home.need(order.name).replace(
                init=Owner.of(init.process.pid),
                rootfs=_rootfs(config, os.path.abspath(order.bundle or ".")),
            )
            handing.hand_over(init, order.pid_file, order.console_socket, order.pidfd_socket)
            home.containers.save(record)
        except BaseException:
            init.abort()
            raise
    except BaseException as error:
        _take_back(group, error)
        raise
    return init


def _group(order: Order, config: Mapping[str, Any], resources: Resources, home: Home) -> Group:
    """The container's group; one that is there and empty will do, since some clients make it.

    It is in the record before it is there: whoever deletes what a killed process has left finds it.
    """
    manager = home.manager("systemd" if order.systemd else "cgroupfs")
    said = Node(config, CONFIG).node("linux").text("cgroupsPath") or order.name
    name = manager.full_name(said)
    found = _present(manager, name)
    record = home.need(order.name).replace(group=name, driver=manager.driver.name)
    home.containers.save(record)
    if found is None:
        return manager.create(name, resources)
    found.update(resources)
    return found


def _present(manager: Manager, name: str) -> Group | None:
    try:
        group = manager.open(name)
    except NoSuchGroup:
        return None
    if group.pids(recursive=True):
        raise GroupBusy(
            f"container's cgroup is not empty: {name}",
            operation="create container",
            path=name,
            errno=errno.EBUSY,
            hint=f"cgmgr group tree {name}",
        )
    return group


def _take_back(group: Group, error: BaseException) -> None:
    try:
        group.delete()
    except CgmgrError as left:
        error.add_note(str(left))


def _resources(config: Mapping[str, Any]) -> Resources:
    """What is asked, and where devices are restricted, those that every container has beside."""
    from cgmgr.resources.devices import DEFAULT_RULES
    from cgmgr.resources.oci import from_oci

    no: dict[str, Any] = {}
    asked = from_oci((config.get("linux") or no).get("resources") or no)
    if asked.devices is None:
        return asked
    return asked.replace(devices=(*asked.devices, *DEFAULT_RULES))


def _rootfs(config: Mapping[str, Any], path: str) -> str:
    root = Node(config, CONFIG).node("root").text("path") or ""
    return os.path.normpath(os.path.join(path, root))


def read(path: str) -> bytes:
    """A config.json, of at most 16 MiB: the specification knows no limit, and memory does."""
    try:
        with open(path, "rb") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise kernel_error("read config", path, error) from error
    if len(text) > MOST_BYTES:
        raise RequestError(
            f"{path} is larger than {MOST_BYTES >> 20} MiB", operation="read config", path=path
        )
    return text


MOST_BYTES: Final = 16 << 20


def parsed(text: bytes, path: str) -> dict[str, Any]:
    """The object that a JSON text is.  Raises `RequestError`."""
    import json

    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RequestError(
            f"{path} is no JSON: {reason}", operation="read config", path=path
        ) from error
    if not isinstance(found, dict):
        raise RequestError(f"{path} is no JSON object", operation="read config", path=path)
    document: dict[str, Any] = {**found}
    return document
