"""A root file system with nothing but `true`, and a bundle of it that every runtime takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from cgmgr.resources import Resources
from cgmgr.resources.words import resources_of
from cgmgr.runtime import spec
from cgmgr.runtime.layout import LAYERS, VOLATILE

from .place import Bench

COMMAND = "/true"
MEMORY, CPUS, PIDS = "64m", "0.5", "100"


def limits() -> Resources:
    return resources_of(memory=MEMORY, cpus=CPUS, pids=PIDS)


def rootfs(bench: Bench) -> str:
    """A directory with one program, and places to mount on."""
    root = Path(bench.scratch, "rootfs")
    if not root.exists():
        for name in ("proc", "dev", "sys", "etc", "tmp"):
            (root / name).mkdir(parents=True)
        shutil.copy(bench.program("true", "-static"), root / COMMAND.lstrip("/"))
    return str(root)


def make(bench: Bench, group: str) -> str:
    """The bundle's path: `true` in six namespaces, under three limits, in `group`."""
    request = spec.ContainerRequest(
        id="bench",
        rootfs=rootfs(bench),
        argv=(COMMAND,),
        namespaces=("mount", "uts", "ipc", "pid", "network", "cgroup"),
        cgroups_path=group,
        resources=limits(),
    )
    config = spec.build(request, bench.scratch)
    config["ociVersion"] = "1.0.2"  # crun 1.8 takes no later one
    config["root"]["path"] = rootfs(bench)
    for name in (LAYERS, VOLATILE):
        del config["annotations"][name]
    path = Path(bench.scratch, "bundle")
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config), encoding="ascii")
    return str(path)
