"""One container, from a shell's point of view: `cgmgr run`, `runc run`, `podman run --rootfs`."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from . import bundle
from .container import command as run_bundle
from .place import Bench, need
from .rounds import interleave, several
from .table import Row
from .timer import timer

HOW = """\
Commands from their start to their end: the static program of the bundle above, under the same
limits. `cgmgr run` and `podman run` make config.json, an overlay and a name for it, and remove
them; `runc run` takes the bundle as it is. `cgmgr` is the console script of `.venv`, an interpreter
that starts and imports included; podman runs runc, with its storage in a scratch folder and no
network, as the others. Five in a row each."""

SPENT = """\
of `cgmgr run` four fifths are Python that starts: the interpreter and its site, our imports, and
once more for the spawner. The container itself takes what it takes in a resident program."""

IN_A_ROW, ROUNDS = 5, 5


def measure(bench: Bench) -> list[Row]:
    runc = need("runc")
    podman = need("podman")
    path = bundle.make(bench, f"{bench.parent.name}/bundle")
    os.environ["CONTAINERS_CONF"] = containers_conf(bench)
    with ExitStack() as stack:
        ours = stack.enter_context(timer(bench.python))
        others = stack.enter_context(
            timer(bench.python, "/run", "/dev/shm")
        )  # where they leave things
        sides = (
            lambda: ours(cgmgr_run(bench)),
            lambda: others(run_bundle(bench, runc, path)),
            lambda: others(podman_run(bench, podman)),
        )
        mine, go, engine = interleave([several(side, IN_A_ROW) for side in sides], ROUNDS)
    return [
        Row("cgmgr run", "ms", mine, go, "runc run"),
        Row("cgmgr run", "ms", mine, engine, "podman run --rootfs"),
    ]


def cgmgr_run(bench: Bench) -> list[str]:
    program = str(Path(bench.python).with_name("cgmgr"))
    limits = ["--memory", bundle.MEMORY, "--cpus", bundle.CPUS, "--pids-limit", bundle.PIDS]
    place = ["--cgroup-parent", bench.parent.name, "--rootfs", bundle.rootfs(bench)]
    return [program, "run", *limits, *place, bundle.COMMAND]


def podman_run(bench: Bench, podman: str) -> list[str]:
    state = Path(bench.scratch, "podman")
    places = ["--root", f"{state}/root", "--runroot", f"{state}/run", "--tmpdir", f"{state}/tmp"]
    engine = ["--cgroup-manager", "cgroupfs", "--runtime", "runc", "--storage-driver", "vfs"]
    limits = ["--memory", bundle.MEMORY, "--cpus", bundle.CPUS, "--pids-limit", bundle.PIDS]
    alone = ["--rm", "--network", "none", "--cgroup-parent", bench.parent.name]
    return [
        podman,
        *places,
        *engine,
        "--events-backend=none",
        "run",
        *alone,
        *limits,
        "--rootfs",
        bundle.rootfs(bench),
        bundle.COMMAND,
    ]


def containers_conf(bench: Bench) -> str:
    """podman wants to raise limits, which takes CAP_SYS_RESOURCE; it is told not to."""
    path = Path(bench.scratch, "containers.conf")
    path.write_text('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n')
    return str(path)
