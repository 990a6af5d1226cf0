"""`spec` and `features`: a config.json to begin with, and what this runtime can do.

Law: documents; the lists come from the tables that do the work, so that none is longer than they.

Source: runc spec(8); features.md of the OCI runtime specification.
"""

from __future__ import annotations

import errno
import os

from cgmgr.errors import NameTaken, kernel_error
from cgmgr.runtime import (
    bundle,
    capabilities,
    compile,
    mounts,
    namespaces,
    seccomp,
    seccomp_filter,
    spec,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

LEAST, MOST = "1.0.0", "1.2.0"
_INDENT: Final = 4


def template(cwd: str) -> dict[str, Any]:
    """A container of a directory "rootfs" beside it, with a shell in a terminal."""
    request = spec.ContainerRequest(
        id="cgmgr", rootfs=cwd, argv=("sh",), terminal=True, hostname="cgmgr", read_only=True
    )
    config = spec.build(request, bundle.DEFAULT_STORE)
    config["root"]["path"] = "rootfs"
    config["annotations"] = {}
    return config


def write_template(place: str) -> None:
    """Write a config.json; one that is there stays.  Raises `NameTaken`, `KernelError`."""
    import json

    folder = os.path.abspath(place or ".")
    path = f"{folder}/config.json"
    text = json.dumps(template(folder), indent=_INDENT)
    try:
        with open(path, "x", encoding="ascii") as file:
            file.write(f"{text}\n")
    except FileExistsError as error:
        raise NameTaken(
            f"{path} exists; remove it first",
            operation="write config",
            path=path,
            errno=errno.EEXIST,
            hint=f"rm {path}",
        ) from error
    except OSError as error:
        raise kernel_error("write config", path, error) from error


def features() -> dict[str, Any]:
    """What can be asked for, as the specification has it."""
    options = {*mounts.ATTRIBUTES, *mounts.PROPAGATIONS, *mounts.BINDS}
    return {
        "ociVersionMin": LEAST,
        "ociVersionMax": MOST,
        "hooks": [],
        "mountOptions": sorted(options),
        "linux": {
            "namespaces": sorted(
                one.name for one in namespaces.TABLE if one.name not in compile.NOT_YET_NEW
            ),
            "capabilities": [f"CAP_{name}" for name in capabilities.NAMES],
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": True,
                "systemdUser": True,
                "rdma": True,
            },
            "seccomp": {
                "enabled": True,
                "actions": list(seccomp.ACTIONS),
                "operators": list(seccomp.OPERATORS),
                "archs": [f"SCMP_ARCH_{name}" for name in seccomp.ARCHITECTURES],
                "knownFlags": list(seccomp.FLAGS),
                "supportedFlags": seccomp_filter.known_flags(),
            },
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": False}},
        },
        "annotations": {},
        "potentiallyUnsafeConfigAnnotations": [],
    }
