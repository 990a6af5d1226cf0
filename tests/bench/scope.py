"""One scope with three limits made and removed under systemd, by us and by others.

    python -m tests.bench.scope FILE

It needs systemd as PID 1, and runs in a guest; `systemd` calls it there.  Its rows go to FILE as
they are, one JSON list a line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import NamedTuple

from cgmgr.driver import BOOTED
from cgmgr.drivers.bus import connect
from cgmgr.drivers.systemd1 import Systemd1
from cgmgr.group import Group
from cgmgr.manager import Manager
from cgmgr.resources.words import resources_of

from . import timer
from .place import Bench, NotHere, need
from .rounds import interleave, several
from .table import Row

MEMORY_BYTES, CPUS, PIDS = 64 << 20, 0.5, 100
IN_A_ROW, ROUNDS = 3, 10
GONE_S, LOOK_S = 10.0, 0.0005
DELEGATED = "-p Delegate=yes"

_serial = count(1)


def measure(bench: Bench) -> list[Row]:
    if not Path("/", BOOTED).is_dir():
        raise NotHere("systemd is not PID 1 here")
    manager = Manager(bench.host, driver="systemd", rundir=bench.usual.rundir)
    with manager.create(f"cgmgr-test-{os.getpid()}_bench.slice", ephemeral=True) as slice_:
        where = Place(manager, Systemd1(connect), slice_, make_bundle(bench, slice_))
        with manager.create(f"{slice_.name}/other", ephemeral=True):
            rows = beside(bench, where)
        return rows + alone(bench, where)


class Place(NamedTuple):
    """Where every side makes its scopes: in one slice."""

    manager: Manager
    systemd: Systemd1
    slice: Group
    bundle: str

    @property
    def slice_name(self) -> str:
        return self.slice.name.rpartition("/")[2]


def beside(bench: Bench, where: Place) -> list[Row]:
    """The slice holds another group, so that the controllers are on in it, and stay."""
    mine, gone, ended, c, go = taken(
        where,
        lambda: ours_msec(where),
        lambda: systemd_run_msec(where)[1],
        lambda: systemd_run_msec(where)[0],
        lambda: container_msec(bench, need("crun"), where),
        lambda: container_msec(bench, need("runc"), where),
    )
    name = "scope: create, 3 limits, delete"
    return [
        Row(name, "ms", mine, gone, "systemd-run --scope, until it is gone", aim=1.0),
        Row(name, "ms", mine, ended, "systemd-run --scope, until it returns"),
        Row(name, "ms", mine, c, "crun --systemd-cgroup run", aim=1.0),
        Row(name, "ms", mine, go, "runc --systemd-cgroup run"),
    ]


def alone(bench: Bench, where: Place) -> list[Row]:
    """Nothing else is in the slice: systemd switches controllers on in it, and off again."""
    mine, gone, delegated, c = taken(
        where,
        lambda: ours_msec(where),
        lambda: systemd_run_msec(where)[1],
        lambda: systemd_run_msec(where, *DELEGATED.split())[1],
        lambda: container_msec(bench, need("crun"), where),
    )
    name = "the same, alone in the slice"
    return [
        Row(name, "ms", mine, gone, "systemd-run --scope, until it is gone", aim=1.0),
        Row(name, "ms", mine, delegated, f"systemd-run --scope {DELEGATED}, until it is gone"),
        Row(name, "ms", mine, c, "crun --systemd-cgroup run", aim=1.0),
    ]


def taken(where: Place, *sides: Callable[[], float]) -> list[float]:
    """Medians, each sample begun when systemd has done with the one before."""

    def rested(side: Callable[[], float]) -> Callable[[], float]:
        def sample() -> float:
            where.systemd.state(where.slice_name)
            return side()

        return several(sample, IN_A_ROW)

    return interleave([rested(side) for side in sides], ROUNDS)


def ours_msec(where: Place) -> float:
    begin = time.perf_counter_ns()
    resources = resources_of(memory=MEMORY_BYTES, cpus=CPUS, pids=PIDS)
    where.manager.create(f"{where.slice.name}/bench", resources).delete()
    return msec_since(begin)


def systemd_run_msec(where: Place, *more: str) -> tuple[float, float]:
    """Until it has returned, and until its scope is gone, which it does not wait for."""
    unit = f"cgmgr-bench-{next(_serial)}.scope"
    limits = (f"MemoryMax={MEMORY_BYTES}", f"CPUQuota={CPUS * 100:.0f}%", f"TasksMax={PIDS}")
    words = [need("systemd-run"), f"--unit={unit}", f"--slice={where.slice_name}", "--scope"]
    words += ["--collect", "--quiet", *more, *(word for text in limits for word in ("-p", text))]
    place = Path(where.slice.at("").path, unit)
    begin = time.perf_counter_ns()
    run([*words, "true"])
    ended = msec_since(begin)
    wait_gone(place)
    where.systemd.state(unit)  # answered once systemd has done with it, as ours is
    return ended, msec_since(begin)


def msec_since(begin_ns: int) -> float:
    return (time.perf_counter_ns() - begin_ns) / 1e6


def wait_gone(place: Path) -> None:
    deadline = time.monotonic() + GONE_S
    while place.exists():
        if time.monotonic() > deadline:
            raise AssertionError(f"{place} is still there")
        time.sleep(LOOK_S)


def make_bundle(bench: Bench, slice_: Group) -> str:
    """The least that a runtime takes: a program, two namespaces, /proc, and the limits."""
    path = Path(bench.scratch, "least")
    for name in ("proc", "dev"):
        (path / "rootfs" / name).mkdir(parents=True)
    program = path / "rootfs/busybox"
    program.write_bytes(Path(need("busybox")).read_bytes())
    program.chmod(0o755)
    period = 100_000
    config = {
        "ociVersion": "1.0.2",
        "process": {"cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["/busybox", "true"]},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "pid"}],
            "cgroupsPath": f"{slice_.name.rpartition('/')[2]}:bench:oci",
            "resources": {
                "memory": {"limit": MEMORY_BYTES},
                "cpu": {"quota": int(CPUS * period), "period": period},
                "pids": {"limit": PIDS},
            },
        },
    }
    (path / "config.json").write_text(json.dumps(config), encoding="ascii")
    return str(path)


def container_msec(bench: Bench, program: str, where: Place) -> float:
    state = f"{bench.scratch}/{Path(program).name}"
    words = ["--root", state, "--systemd-cgroup", "run", "--bundle", where.bundle, "bench"]
    begin = time.perf_counter_ns()
    run([program, *words])
    return msec_since(begin)


def run(command: list[str]) -> None:
    _usec, status = timer.run(command)
    if status:
        raise AssertionError(f"{' '.join(command)} ended with status {status}")


def main(file: str) -> None:
    with Bench() as bench:
        rows = measure(bench)
    Path(file).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="ascii")


if __name__ == "__main__":
    main(sys.argv[1])
