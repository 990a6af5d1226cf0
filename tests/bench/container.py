"""One bundle, from its start to its end: by a resident Python program, by crun and by runc."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from cgmgr.host import HYBRID
from cgmgr.resources.oci import from_oci
from cgmgr.runtime import launcher
from cgmgr.runtime.launcher import Launch

from . import bundle
from .place import Bench, need
from .rounds import interleave, several
from .table import Row
from .timer import timer

HOW = """\
One bundle: a static program that does nothing, six namespaces, seven mounts, masked and read-only
paths, a filter of system calls, whose program we keep, three limits. `crun run` and `runc run` are
timed from their start to their end by a small program; ours is called in a resident one, which
reads config.json, makes the groups, starts the container, waits for its end and removes the groups.
crun refuses a hybrid host such as this one, so an empty directory hides the cgroup2 mount from it,
in a mount namespace of its own: it makes groups in the v1 hierarchies alone, which is a little less
work than ours and runc's.

In a row: ten times the same, so that each finds its own code and data in the caches of the CPU.
After a pause: the three in turn, with 50 ms of rest before each, as when containers are started now
and then; a program that has to be loaded suffers from that more than one that is resident."""

SPENT = """\
a third passes in the steps that furnish the container; most are mounts of 60 to 200 us, ten of
them for the hierarchies, of which the calls that make the file system are two thirds. A sixth
is the clone of the spawner into new namespaces, twice as long as alone, because the last
network namespace is still being tidied up and the group joined. The groups take a fifth,
handing the steps over a tenth; the rest is exec and exit."""

IN_A_ROW, ROUNDS = 10, 6
PAUSE_S, PAUSED_ROUNDS = 0.05, 25


def measure(bench: Bench) -> list[Row]:
    crun, runc = need("crun"), need("runc")
    path = bundle.make(bench, f"{bench.parent.name}/bundle")
    v2 = bench.host.v2
    hidden = [v2.mountpoint] if v2 is not None and bench.host.mode == HYBRID else []
    with ExitStack() as stack:
        # /run is hidden because they leave empty folders there
        run_c = stack.enter_context(timer(bench.python, "/run", *hidden))
        run_go = stack.enter_context(timer(bench.python, "/run"))
        sides = (
            lambda: run_msec(bench, path),
            lambda: run_c(command(bench, crun, path)),
            lambda: run_go(command(bench, runc, path)),
        )
        warm = interleave([several(side, IN_A_ROW) for side in sides], ROUNDS)
        cold = interleave([after_pause(side) for side in sides], PAUSED_ROUNDS)
    return [
        row
        for name, (mine, c, go) in (("in a row", warm), ("after a pause", cold))
        for row in (
            Row(f"a bundle, {name}", "ms", mine, c, "crun run", aim=0.6),
            Row(f"a bundle, {name}", "ms", mine, go, "runc run"),
        )
    ]


def after_pause(side: Callable[[], float]) -> Callable[[], float]:
    def sample() -> float:
        time.sleep(PAUSE_S)
        return side()

    return sample


def command(bench: Bench, program: str, path: str) -> list[str]:
    """`run` with the state in the scratch folder."""
    name = Path(program).name
    state = f"{bench.scratch}/{name}"
    return [program, "--root", state, "run", "--bundle", path, f"bench-{os.getpid()}"]


def run_msec(bench: Bench, path: str) -> float:
    """Milliseconds of the bundle's life, by our own runtime."""
    begin = time.perf_counter_ns()
    config = json.loads(Path(path, "config.json").read_bytes())
    linux = config["linux"]
    resources = from_oci(linux["resources"])
    with bench.manager.create(linux["cgroupsPath"], resources, ephemeral=True) as group:
        setup = launcher.compiled(config, path, bench.host)
        with Path(os.devnull).open("r+b") as file, group.placement() as place:
            null = file.fileno()
            launch = Launch(host=bench.host, placement=place, stdin=null, stdout=null, stderr=null)
            init = launcher.create(setup, launch)
        try:
            init.start()
            ended = init.process.wait_ended()
        finally:
            init.abort()
    spent = time.perf_counter_ns() - begin
    if ended.exit != 0:
        raise AssertionError(f"the container ended with {ended}")
    return spent / 1e6
