"""The measurements of `scope`, taken in a guest whose PID 1 is systemd."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from pathlib import Path

from tests.vm import guest, image, lane, recipe, stage

from .place import Bench, NotHere
from .table import Row

HOW = """\
In a guest (docs/guests.md, `unified`: Debian 12, systemd 252, two CPUs that QEMU emulates, so that
everything takes 10 to 30 times as long as on a machine): a scope with limits of memory, CPU and
tasks, made and removed. Ours is `Manager.create(name, resources).delete()` of the systemd driver in
a resident process. `systemd-run --scope -p MemoryMax= -p CPUQuota= -p TasksMax= true` returns
while systemd is still removing the scope; until it is gone is until systemd, asked for it, says so,
which ours waits for, too. `crun run` and `runc run` start a container as well, the least there is:
`busybox true`, two namespaces, one mount; ours starts the process that keeps an empty scope. All
make their scopes in the same slice, and each begins when systemd has done with the one before.

The slice holds another group first, as on a host in use, and then nothing else. Run again alone:
`python -m tests.bench systemd`."""

SPENT = """\
most of it passes in systemd, which writes some twenty files for the scope and for every slice above
it, and tells the bus. Of ours beside another group a half is the start of the unit, a fifth its
stop, a sixth the process that keeps it, moved to its leaf; the rest is the plan, the records, and
the files of the leaf. That the bus is not waited for when it is told what to watch for, and that
the keeper executes its program while other steps are done, saved a sixth. systemd's private socket
instead of the bus was slower, since it takes a new connection for each job. Alone in the slice
systemd takes longer for whoever asks for delegation, crun too: for the first delegated scope it
switches every controller on in all slices above, and with the last one off again, in which cpuset
is slow. With a delegation of no more than cpu, io, memory and pids ours was as fast as
systemd-run; it was not kept, since a group could then get no cpuset later."""

LIMIT_S = 15 * 60


def measure(bench: Bench) -> list[Row]:
    del bench
    trouble = image.obstacle()
    if trouble:
        raise NotHere(f"no guest: {trouble}")
    with tempfile.TemporaryDirectory(prefix="cgmgr-guest-") as place, image.held(say) as disk:
        folder = guest.Folder(Path(place, "guest"))
        words = guest.command(disk, "unified", folder, stage.make(Path(place)).disks())
        ended = guest.run(words, folder, script(), LIMIT_S, lambda: None)
        lines = folder.read(folder.results).splitlines()
    if ended.trouble or ended.status != 0:
        raise AssertionError(f"{ended.trouble}\n{ended.output}\n{ended.console}")
    return [Row(*json.loads(line)) for line in lines]


def script() -> str:
    words = [".venv/bin/python", "-m", "tests.bench.scope", f"{recipe.JOB}/results"]
    return f"{lane.prologue()}\nexport CGMGR_GUEST=unified\n{shlex.join(words)}\n"


def say(text: str) -> None:
    print(text, file=sys.stderr)
