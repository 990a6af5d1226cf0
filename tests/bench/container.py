"""One bundle, from its start to its end: by a resident Python program, by crun and by runc."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from pathlib import Path

from cgmgr.host import HYBRID
from cgmgr.resources.oci import from_oci
from cgmgr.runtime import launcher
from cgmgr.runtime.launcher import Launch

from . import bundle
from .place import Bench, need
from .rounds import interleave
from .table import Row
from .timer import timer

HOW = """\
One bundle: a static program that does nothing, six namespaces, seven mounts, masked and read-only
paths, three limits. `crun run` and `runc run` are timed from their start to their end by a small
program; ours is called in a resident one, which reads config.json, makes the groups, starts the
container, waits for its end and removes the groups. crun refuses a hybrid host such as this one, so
an empty directory hides the cgroup2 mount from it, in a mount namespace of its own: it makes groups
in the v1 hierarchies alone, which is a little less work than ours and runc's."""

SPENT = """\
some two thirds pass while the new process furnishes the container: fifty steps, each a few
system calls, made by Python. The groups take a fifth; the rest is exec, exit and the kernel's
tidying up of namespaces."""

ROUNDS = 30


def measure(bench: Bench) -> list[Row]:
    commands = {name: need(name) for name in ("crun", "runc")}
    group = f"{bench.parent.name}/bundle"
    path = bundle.make(bench, group)
    v2 = bench.host.v2
    hidden = [v2.mountpoint] if v2 is not None and bench.host.mode == HYBRID else []
    hidden.append("/run")  # where they leave empty folders
    with ExitStack() as stack:
        crun = stack.enter_context(timer(bench.python, *hidden))
        runc = stack.enter_context(timer(bench.python, "/run"))
        sides = (
            lambda: run_msec(bench, path),
            lambda: crun(command(bench, commands["crun"], path)),
            lambda: runc(command(bench, commands["runc"], path)),
        )
        mine, c, go = interleave(sides, ROUNDS, warm_up=3)
    return [
        Row("a bundle, by a resident program", "ms", mine, c, "crun run", aim=0.6),
        Row("a bundle, by a resident program", "ms", mine, go, "runc run"),
    ]


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
