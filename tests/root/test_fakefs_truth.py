"""The imitation of tests/fakekernel does what this kernel does: same operations, same outcome.

Each scenario is run on a recorded host of this kind and on the real hierarchies, through the same
`Tree`; every refusal's errno and every text read is compared.  What takes the kernel a moment
(freezing, counts) is read until it agrees or a deadline has passed.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cgmgr.errors import CgmgrError
from cgmgr.host import IMPLICIT_ON_V2, Host
from tests.fakefs import FakeHost, FakeTree, unpack
from tests.recording import HOSTS, Recording
from tests.root import scenarios

if TYPE_CHECKING:
    from collections.abc import Generator

    from cgmgr.kernfs import Tree


PATIENCE = 5.0
_names = itertools.count()


class Bench:
    """The same base group in a real hierarchy and in a recorded one."""

    def __init__(self, real: Tree, fake: Tree, base: str, pid: int) -> None:
        self.real = real
        self.fake = fake
        self.base = base
        self.pid = pid

    def act(self, tree: Tree, operation: scenarios.Operation) -> str:
        """Do it; what was read, "ok", or the name of the errno."""
        verb, path, *rest = operation
        group = self.base + (path if path != "/" else "")
        try:
            if verb in ("mkdir", "rmdir"):
                getattr(tree, verb)(group)
                return "ok"
            with tree.open(group) as directory:
                if verb == "read":
                    return directory.read(rest[0])
                if verb == "join":
                    rest = [rest[0] if rest else "cgroup.procs", str(self.pid)]
                directory.write(rest[0], rest[1])
        except CgmgrError as error:
            return errno.errorcode[error.errno or 0]
        return "ok"

    def compare(self, operations: list[scenarios.Operation]) -> None:
        """Assert that both go the same way, operation by operation."""
        for number, operation in enumerate(operations):
            expected = self.act(self.real, operation)
            said = self.act(self.fake, operation)
            deadline = time.monotonic() + PATIENCE
            while operation[0] == "read" and said != expected and time.monotonic() < deadline:
                os.sched_yield()
                expected = self.act(self.real, operation)
            assert said == expected, f"{number}: {operation}, after {operations[:number]}"


def _switched_on(tree: Tree) -> set[str]:
    """What is switched on in a cgroup2 root, by whomever."""
    with tree.open("/") as root:
        return set((root.try_read("cgroup.subtree_control") or "").split())


class Pair:
    """This machine and the recorded one that is most like it."""

    def __init__(self, real: Host, fake: FakeHost, token: str) -> None:
        self.real = real
        self.fake = fake
        self.token = token

    @contextlib.contextmanager
    def bench(self, controller: str) -> Generator[Bench]:
        """A group in the hierarchy that holds a controller ("" for cgroup2), on both."""
        base = f"/{self.token}-truth-{next(_names)}"
        tree, twin = (_tree(host, controller) for host in (self.real, self.fake))
        if tree is None or not isinstance(twin, FakeTree):
            pytest.skip(f"no hierarchy holds {controller or 'cgroup2'}")
        with contextlib.ExitStack() as stack:
            if twin.hierarchy.version == 2 and controller not in ("", *IMPLICIT_ON_V2):
                stack.enter_context(_enabled(tree, controller))
                stack.enter_context(_enabled(twin, controller))
            if twin.hierarchy.version == 2:
                for other in _switched_on(tree) - _switched_on(twin):
                    stack.enter_context(_enabled(twin, other))
            tree.mkdir(base)
            stack.callback(_remove, Path(tree.absolute(base)))
            twin.mkdir(base)
            stack.callback(_forget, twin, base)
            process = stack.enter_context(subprocess.Popen(["sleep", "1000"]))
            stack.callback(process.kill)
            stack.callback(_thaw, Path(tree.absolute(base)))
            yield Bench(tree, twin, base, process.pid)

    def run(self, scenario: scenarios.Scenario, version: int) -> None:
        """Compare, if this machine has the controller on that version."""
        controller, operations = scenario
        holder = self.real.holder(controller) if controller else self.real.v2
        if holder is None or holder.version != version:
            pytest.skip(f"no v{version} hierarchy holds {controller or 'cgroup2'}")
        with self.bench(controller) as ready:
            ready.compare(scenarios.fill_in(operations))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, run_token: str) -> Pair:
    real = Host.detect()
    kernel = ".".join(os.uname().release.split(".")[:2])
    keys = {hierarchy.key for hierarchy in real.hierarchies}
    for path in sorted(HOSTS.glob("*.tree")):
        recorded = Recording.load(path)
        text = recorded.text("/proc/self/cgroup")
        known = {line.split(":")[1] for line in text.splitlines()}
        release = recorded.text("/proc/sys/kernel/osrelease")
        if release.startswith(f"{kernel}.") and known == keys and "bfq" not in path.stem:
            return Pair(real, unpack(path, tmp_path_factory.mktemp(path.stem)), run_token)
    pytest.skip(f"no host with Linux {kernel} and hierarchies {sorted(keys)} was recorded")


def _tree(host: Host, controller: str) -> Tree | None:
    hierarchy = host.holder(controller) if controller else host.v2
    return host.tree(hierarchy) if hierarchy is not None else None


@contextlib.contextmanager
def _enabled(tree: Tree, controller: str) -> Generator[None]:
    """The controller enabled for the children of the cgroup2 root, as before in the end."""
    with tree.open("/") as root:
        there = controller in root.read("cgroup.subtree_control").split()
        if not there:
            root.write("cgroup.subtree_control", f"+{controller}")
        try:
            yield
        finally:
            if not there:
                root.write("cgroup.subtree_control", f"-{controller}")


def _forget(twin: FakeTree, base: str) -> None:
    """Take the fake groups away, whatever is in them."""
    for group in reversed(list(twin.kernel.group(base).below())):
        for pid in group.pids:
            twin.kernel.move(pid, None)
        twin.rmdir(group.path)


def _groups(top: Path) -> list[Path]:
    return [Path(folder) for folder, _, _ in os.walk(top)]


def _thaw(top: Path) -> None:
    """Let a killed process end: on v1 a frozen one does not."""
    for group in _groups(top):
        for name, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            if (group / name).exists():
                (group / name).write_text(value)


def _remove(top: Path) -> None:
    """Remove the groups, deepest first; the kernel may need a moment to let the process go."""
    deadline = time.monotonic() + PATIENCE
    for group in reversed(_groups(top)):
        while True:
            try:
                group.rmdir()
                break
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                os.sched_yield()


EVERY = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "io", "pids", "net_cls")


@pytest.mark.parametrize(
    "controller", ["", *EVERY, "net_prio", "hugetlb", "perf_event", "rdma", "misc"]
)
def test_a_new_group_has_the_same_files(pair: Pair, controller: str) -> None:
    """Names, modes, and what they say, in a group that was just made."""
    seen: list[dict[str, tuple[int, str]]] = []
    with pair.bench(controller) as ready:
        for tree in (ready.real, ready.fake):
            with tree.open(ready.base) as directory:
                names = directory.files()
            texts = {file: ready.act(tree, ("read", "/", file)) for file in names}
            modes = {file: Path(tree.absolute(ready.base), file).stat().st_mode for file in names}
            seen.append({file: (modes[file] & 0o777, texts[file]) for file in names})
    real, fake = seen

    assert sorted(fake) == sorted(real)
    for files in seen:
        files.pop("net_prio.prioidx", None)  # a number of the group's own, as an inode is
    different = {file: (real[file], fake[file]) for file in real if real[file] != fake[file]}
    assert different == {}


@pytest.mark.parametrize("hierarchy", ["", "cpu", "pids", "freezer"])
@pytest.mark.parametrize("scenario", scenarios.CORE)
def test_core(pair: Pair, hierarchy: str, scenario: str) -> None:
    with pair.bench(hierarchy) as ready:
        ready.compare(scenarios.CORE[scenario])


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("scenario", scenarios.EITHER)
def test_either_version(pair: Pair, scenario: str, version: int) -> None:
    pair.run(scenarios.EITHER[scenario], version)


@pytest.mark.parametrize("scenario", scenarios.V1)
def test_v1(pair: Pair, scenario: str) -> None:
    pair.run(scenarios.V1[scenario], 1)


@pytest.mark.parametrize("scenario", scenarios.V2)
def test_v2(pair: Pair, scenario: str) -> None:
    pair.run(scenarios.V2[scenario], 2)


DEVICE_PATHS = ("/", "/a", "/a/b")
malformed = st.sampled_from(["c", "c 1", "c 1:3", "x 1:3 r", "c 1:3  r", "c 1:3 rx", "c x:3 r", ""])
rules = st.builds(
    "{} {}:{} {}".format,
    st.sampled_from("bc"),
    st.sampled_from("*13"),
    st.sampled_from("*35"),
    st.sampled_from(["r", "w", "m", "rw", "wm", "rwm", "rwmx", "mr"]),
)
device_writes = st.tuples(
    st.sampled_from(DEVICE_PATHS),
    st.sampled_from(["devices.allow", "devices.deny"]),
    st.one_of(rules, rules, rules, st.sampled_from(["a", "a *:* rwm"]), malformed),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(device_writes, max_size=12))
def test_devices(pair: Pair, steps: list[tuple[str, str, str]]) -> None:
    """Any order of rules in three groups, one below the other, some made on the way."""
    operations: list[scenarios.Operation] = []
    for number, (path, file, rule) in enumerate(steps):
        if number in (2, 5):
            operations.append(("mkdir", DEVICE_PATHS[1 if number == 2 else 2]))
        operations.append(("write", path, file, rule))
        operations += [("read", one, "devices.list") for one in DEVICE_PATHS]
    pair.run(("devices", operations), 1)
