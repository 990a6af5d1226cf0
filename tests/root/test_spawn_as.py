"""Starting processes as somebody else, and for a caller that became somebody else."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgmgr.group import Group
from cgmgr.spawn import PIPE, SpawnRequest, start

ROOT = Path(__file__).parent.parent.parent
NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own are for us alone."""
    with tempfile.TemporaryDirectory(prefix="cgmgr-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_another_user_has_none_of_our_groups_and_rights() -> None:
    request = SpawnRequest(
        argv=["grep", "-E", "^(Uid|Gid|Groups|CapEff):", "/proc/self/status"],
        stdout=PIPE,
        uid=NOBODY,
        gid=NOBODY,
    )
    with start(request) as child:
        assert child.stdout is not None
        lines = [line.split() for line in child.stdout.read().decode().splitlines()]
    ids = [str(NOBODY)] * 4
    assert lines == [["Uid:", *ids], ["Gid:", *ids], ["Groups:"], ["CapEff:", "0" * 16]]


def test_supplementary_groups_as_asked() -> None:
    request = SpawnRequest(argv=["id", "-G"], stdout=PIPE, uid=NOBODY, gid=7, groups=[8, 9])
    with start(request) as child:
        assert child.stdout is not None
        assert child.stdout.read() == b"7 8 9\n"


def test_our_supplementary_groups_are_not_another_users() -> None:
    code = f"""
from cgmgr.spawn import *
os.setgroups([1, 2])
for fields in ({{"uid": {NOBODY}}}, {{"gid": 7}}, {{}}):
    with start(SpawnRequest(argv=["id", "-G"], stdout=PIPE, **fields)) as child:
        print(child.stdout.read().decode().split()[1:])
"""
    assert run_python(sys.executable, code).splitlines() == ["[]", "[]", "['1', '2']"]


def test_another_user_may_be_where_we_may_not(open_folder: Path) -> None:
    """As on NFS with root squashed: the folder is entered once it is theirs."""
    theirs = open_folder / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, NOBODY, NOBODY)
    code = f"""
from cgmgr import linux
from cgmgr.spawn import *
from cgmgr.errors import KernelError
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    linux.prctl(linux.PR_CAPBSET_DROP, capability)
effective, permitted, inheritable = linux.capget()
linux.capset(effective & ~6, permitted & ~6, inheritable & ~6)
fields = {{"argv": ["/bin/readlink", "/proc/self/cwd"], "cwd": {str(theirs)!r}}}
with start(SpawnRequest(**fields, uid={NOBODY}, stdout=PIPE)) as child:
    print(child.stdout.read().decode())
try:
    start(SpawnRequest(**fields))
except KernelError as error:
    print(error.errno)
"""
    found = run_python(sys.executable, code).split()
    assert found == [str(theirs), str(errno.EACCES)]


def test_another_user_may_be_where_we_may(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    request = SpawnRequest(argv=["readlink", "/proc/self/cwd"], stdout=PIPE, uid=NOBODY,
                           cwd=tmp_path)  # fmt: skip
    with start(request) as child:
        assert child.stdout is not None
        assert child.stdout.read().decode() == f"{tmp_path}\n"


def interpreter_for_nobody() -> str:
    """A python3 that another user may execute, with this checkout."""
    code = f"import sys; sys.path.append({str(ROOT)!r}); import cgmgr.linux"
    for path in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(PermissionError):
            argv = [path, "-I", "-S", "-c", code]
            done = subprocess.run(argv, user=NOBODY, group=NOBODY, cwd="/", check=False)
            if done.returncode == 0:
                return path
    pytest.skip("no interpreter, or not this checkout, that another user may read")


def run_python(interpreter: str, code: str) -> str:
    done = subprocess.run(
        [interpreter, "-c", f"import os, sys; sys.path.append({str(ROOT)!r})\n{code}"],
        capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_caller_that_gave_up_its_rights_starts_none_with_them(group: Group) -> None:
    """The spawner was started as root; after setuid it must not be used.  Nor may we attach."""
    code = f"""
from types import SimpleNamespace
from cgmgr.errors import NotDelegated
from cgmgr.host import Host
from cgmgr.spawn import *
from cgmgr.spawn import link
start(SpawnRequest(argv=["true"])).wait()
first = link.pid()
group = SimpleNamespace(host=Host.detect(), paths={group.paths!r})
place = Placement.of(group)
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
with start(SpawnRequest(argv=["id", "-u"], stdout=PIPE)) as child:
    print(child.stdout.read().decode())
assert link.pid() != first
try:
    Placement.of(group)
except NotDelegated as error:
    print("refused", error.hint)
try:
    print(start(SpawnRequest(argv=["true"], placement=Placement(cgroup_fd=place.cgroup_fd))))
except NotDelegated as error:
    print("refused", error.errno)
"""
    assert run_python(interpreter_for_nobody(), code).splitlines() == [
        str(NOBODY),
        "",
        "refused cgmgr doctor # what this user may do",
        "refused 13",
    ]


def test_a_caller_that_may_gain_nothing_any_more() -> None:
    code = """
from cgmgr import linux
from cgmgr.spawn import *
start(SpawnRequest(argv=["true"])).wait()
linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
argv = ["grep", "NoNewPrivs", "/proc/self/status"]
with start(SpawnRequest(argv=argv, stdout=PIPE)) as child:
    print(child.stdout.read().decode())
"""
    assert run_python(sys.executable, code).split() == ["NoNewPrivs:", "1"]


def test_a_caller_in_another_namespace_starts_none_in_its_old_one() -> None:
    code = """
from cgmgr import linux
from cgmgr.spawn import *
def uts():
    with start(SpawnRequest(argv=["readlink", "/proc/self/ns/uts"], stdout=PIPE)) as child:
        return child.stdout.read().decode().strip()
print(uts() == os.readlink("/proc/self/ns/uts"))
linux.unshare(linux.CLONE_NEWUTS)
print(uts() == os.readlink("/proc/self/ns/uts"))
"""
    assert run_python(sys.executable, code).split() == ["True", "True"]
