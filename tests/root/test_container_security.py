"""What a container may not: rights, kernel files, groups, and roots that are meant to hurt."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from cgmgr import linux, spawn
from cgmgr.errors import KernelError
from cgmgr.host import Host
from cgmgr.runtime import capabilities
from cgmgr.runtime.launcher import Container
from cgmgr.runtime.volumes import parse_tmpfs, parse_volume
from cgmgr.spawn import interpreter
from tests.spawn_entries import KEYCTL, session_keyring_id

from .containers import Lab, tiny_root, tmpfs


@pytest.fixture
def lab(tmp_path: Path, run_token: str) -> Lab:
    return Lab(Host.detect(), tmp_path, run_token)


def sets_of(lab: Lab, **fields: Any) -> dict[str, int]:
    said = lab.run("grep", "^Cap", "/proc/self/status", **fields)
    return {line[3:6]: int(line.split()[1], 16) for line in said.out.splitlines()}


DEFAULT = capabilities.mask_of(capabilities.DEFAULT)


@pytest.mark.parametrize(
    ("fields", "held", "bounding"),
    [
        pytest.param({}, DEFAULT, DEFAULT, id="default"),
        pytest.param({"user": "12345"}, 0, DEFAULT, id="another-user"),
        pytest.param({"capabilities": ()}, 0, 0, id="none"),
        pytest.param({"capabilities": ("CHOWN",)}, 1, 1, id="one"),
    ],
)
def test_capabilities(lab: Lab, fields: dict[str, Any], held: int, bounding: int) -> None:
    assert sets_of(lab, **fields) == {
        "Inh": 0,
        "Prm": held,
        "Eff": held,
        "Bnd": bounding,
        "Amb": 0,
    }


def test_a_capability_that_is_not_ours_to_give(lab: Lab) -> None:
    missing = capabilities.names_of(~linux.capget()[1] & (1 << len(capabilities.NAMES)) - 1)
    if not missing:
        pytest.skip("this run holds every capability")

    with pytest.raises(KernelError, match=missing[0]) as caught:
        lab.run("true", capabilities=(missing[0],))

    assert caught.value.errno == errno.EPERM
    assert lab.left() == []


@pytest.mark.parametrize(
    ("asked", "said"), [(True, "1"), (False, "0")], ids=["no-new-privileges", "new-privileges"]
)
def test_no_new_privileges(lab: Lab, asked: bool, said: str) -> None:
    out = lab.run("grep", "NoNewPrivs", "/proc/self/status", no_new_privileges=asked).out

    assert out.split()[1] == said


def test_kernel_files_are_hidden(lab: Lab) -> None:
    masked = [p for p in ("/proc/keys", "/proc/kcore", "/proc/timer_list") if Path(p).exists()]
    folders = [p for p in ("/proc/acpi", "/sys/firmware", "/proc/scsi") if Path(p).exists()]

    said = lab.sh(f"cat {' '.join(masked)} | wc -c; ls {' '.join(folders)} | grep -v :")

    assert masked
    assert folders
    assert said.out.split() == ["0"]


READ_ONLY = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/sys/kernel/uevent_helper",
    "/sys/fs/cgroup/memory/cgroup.procs",
    "/sys/fs/cgroup/unified/cgroup.procs",
    "/sys/fs/cgroup/cgroup.procs",
)


def test_kernel_files_are_read_only(lab: Lab) -> None:
    """Those that are there; a write would do nothing here, or fail in another way."""
    there = [path for path in READ_ONLY if Path(path).exists()]

    said = lab.sh("; ".join(f"echo x > {path}" for path in there))

    assert "/proc/sys/kernel/core_pattern" in there
    assert said.err.count("Read-only file system") == len(there)


def test_nothing_is_mounted_or_unmounted(lab: Lab) -> None:
    said = lab.sh(
        "umount /proc/sys; umount /sys; mount -t tmpfs none /mnt; mount -o remount,rw /sys"
    )

    assert said.err.count("\n") >= 4
    assert said.code != 0


def test_the_old_root_is_gone(lab: Lab) -> None:
    said = lab.sh("cut -d' ' -f2 /proc/mounts | sort | uniq -d; ls -d /old_root/* merged 2>&1")

    assert str(lab.store) not in lab.sh(f"grep -v ' {lab.store} ' /proc/self/mountinfo").out
    assert "merged" not in said.out.split("\n")[0]


def test_its_group_is_the_root_of_what_it_sees(lab: Lab) -> None:
    said = lab.run("cat", "/proc/self/cgroup").out

    assert [line.rpartition(":")[2] for line in said.splitlines()] == ["/"] * len(said.splitlines())


def test_every_hierarchy_is_there_and_read_only(lab: Lab) -> None:
    names = [Path(h.mountpoint).name for h in lab.host.hierarchies]
    said = lab.sh(
        "ls /sys/fs/cgroup; for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/x; done"
    )

    if lab.host.mode != "unified":
        assert set(names) <= set(said.out.split())
    assert said.err.count("Read-only") == said.err.count("\n") > 0


@pytest.mark.parametrize("user", ["0", "12345"])
def test_until_it_executes_nobody_inside_can_reach_into_it(lab: Lab, user: str) -> None:
    """Another process of the same user, with the same rights, may not open its descriptors."""
    request = lab.request("sleep", "1000", user=user)
    with Container.create(request, lab.launch()) as container:
        descriptor = Path(f"/proc/{container.process.pid}/fd/0")
        child = os.fork()
        if child == 0:
            held = DEFAULT if user == "0" else 0
            linux.prctl(linux.PR_SET_KEEPCAPS, 1)
            os.setgroups([])
            os.setresgid(0, 0, 0)
            os.setresuid(int(user), int(user), int(user))
            linux.capset(held, held, 0)
            try:
                descriptor.readlink()
            except PermissionError:
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


ATTACK = """\
#!/proc/self/exe
import os
print(os.readlink("/proc/self/exe"))
print(bool(os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY))
"""


def test_the_hosts_interpreter_cannot_be_overwritten(lab: Lab, tmp_path: Path) -> None:
    """CVE-2019-5736: the container executes the program of the process that enters it, keeps the
    file open, and writes to it once nobody executes it.  (As long as somebody does, as this test,
    the kernel says ETXTBSY to everyone; so look at the mount.)"""
    script = tmp_path / "attack"
    script.write_text(ATTACK)
    script.chmod(0o755)

    said = lab.run("/attack", volumes=(parse_volume(f"{script}:/attack:ro"),))

    assert said.out.split() == [str(Path(sys.executable).resolve()), "True"]


def test_without_that_protection_nothing_is_run(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_allowed(_path: str) -> tuple[int, int]:
        raise OSError(errno.EPERM, "")

    monkeypatch.setattr(interpreter, "read_only", not_allowed)
    spawn.shutdown()
    try:
        with pytest.raises(KernelError, match="protect the interpreter"):
            lab.run("true")
    finally:
        spawn.shutdown()
    assert lab.left() == []


# -- roots that are meant to hurt


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the host that must not change."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text("kept")
    return folder


def intact(outside: Path) -> bool:
    return [p.name for p in outside.iterdir()] == ["file"] and (
        outside / "file"
    ).read_text() == "kept"


@pytest.mark.parametrize("name", ["proc", "dev", "sys"])
@pytest.mark.parametrize("target", ["{outside}", "/etc", "etc", "../../..", "nowhere", "{name}"])
def test_a_link_in_place_of_a_kernel_directory(
    lab: Lab, tmp_path: Path, outside: Path, name: str, target: str
) -> None:
    root = tiny_root(tmp_path / "root")
    (root / "etc").mkdir()
    (root / name).symlink_to(target.format(outside=outside, name=name))

    with pytest.raises(KernelError, match="symbolic link") as caught:
        lab.run("true", rootfs=str(root))

    assert caught.value.errno == errno.ELOOP
    assert caught.value.path == f"/{name}"
    assert intact(outside)
    assert list((root / "etc").iterdir()) == []
    assert lab.left() == []


@pytest.mark.parametrize("name", ["proc", "dev", "sys"])
def test_a_file_in_place_of_a_kernel_directory(lab: Lab, tmp_path: Path, name: str) -> None:
    root = tiny_root(tmp_path / "root")
    (root / name).write_text("")

    with pytest.raises(KernelError) as caught:
        lab.run("true", rootfs=str(root))

    assert caught.value.errno == errno.ENOTDIR
    assert lab.left() == []


@pytest.mark.parametrize("link", ["{outside}", "../../../../../../../..{outside}"])
@pytest.mark.parametrize("place", ["/data", "/data/sub", "/data/./sub/"])
def test_mounts_go_inside_whatever_links_say(
    lab: Lab, tmp_path: Path, outside: Path, link: str, place: str
) -> None:
    root = tiny_root(tmp_path / "root")
    (root / "data").symlink_to(link.format(outside=outside))

    said = lab.sh(
        f"echo text > {place}/made; cat {outside}/made {outside}/sub/made 2>/dev/null",
        rootfs=str(root),
        tmpfs=(parse_tmpfs(place),),
    )

    assert said.out == "text\n"
    assert intact(outside)
    assert not (root / "data/made").exists()


def test_a_working_directory_behind_a_link(lab: Lab, tmp_path: Path, outside: Path) -> None:
    root = tiny_root(tmp_path / "root")
    (root / "here").symlink_to(outside)

    assert lab.run("sh", "-c", "pwd -P", rootfs=str(root), cwd="/here").out == f"{outside}\n"
    assert lab.run("ls", rootfs=str(root), cwd="/here").out == ""
    assert intact(outside)


@pytest.mark.parametrize("target", ["/proc/1/root", "/proc/self/fd/3", "/proc/self/root/etc"])
def test_a_working_directory_through_proc(lab: Lab, tmp_path: Path, target: str) -> None:
    root = tiny_root(tmp_path / "root")
    (root / "here").symlink_to(target)

    try:
        said = lab.run("ls", "/here/", rootfs=str(root), cwd="/here")
    except KernelError:
        pass
    else:
        assert "vmlinuz" not in said.out
        assert "farm" not in said.out
    assert lab.left() == []


def test_the_user_database_is_its_own(lab: Lab, tmp_path: Path) -> None:
    root = tiny_root(tmp_path / "root")
    (root / "etc").mkdir()
    (root / "etc/passwd").symlink_to("/real")
    (root / "real").write_text("daemon:x:4321:4321:::\n")

    assert lab.run("id", "-u", rootfs=str(root), user="daemon").out == "4321\n"


def test_devices_of_a_root_do_not_work(lab: Lab, tmp_path: Path) -> None:
    root = tiny_root(tmp_path / "root")
    os.mknod(root / "disk", 0o20666, os.makedev(1, 3))

    assert "denied" in lab.sh("head -c 1 /disk", rootfs=str(root)).err


def test_a_volume_through_a_link_of_the_root(lab: Lab, tmp_path: Path, outside: Path) -> None:
    root = tiny_root(tmp_path / "root")
    (root / "etc").mkdir()
    (root / "etc/file").symlink_to(outside / "file")

    said = lab.sh(
        f"cat {outside}/file; echo changed > /etc/file",
        rootfs=str(root),
        volumes=(parse_volume("/etc/passwd:/etc/file:ro"),),
    )

    assert said.out == Path("/etc/passwd").read_text()
    assert intact(outside)


BREAKOUT = """\
import os
top = os.open("/", os.O_RDONLY)
os.mkdir("/tmp/jail")
os.chroot("/tmp/jail")
os.fchdir(top)
for _ in range(100):
    os.chdir("..")
os.chroot(".")
print(os.path.exists({marker!r}), os.path.exists("/proc/1/root{marker}"))
print(os.path.samestat(os.stat("."), os.fstat(top)))
"""


def test_a_way_out_of_chroot_ends_at_the_containers_root(lab: Lab, outside: Path) -> None:
    """CAP_SYS_CHROOT is held, and a directory above the new root is open: chroot(2), NOTES."""
    with tmpfs(outside):
        (outside / "marker").write_text("")
        program = BREAKOUT.format(marker=str(outside / "marker"))
        said = lab.run("/usr/bin/python3", "-c", program, tmpfs=(parse_tmpfs("/tmp:mode=1777"),))

    assert said.out.split() == ["False", "False", "True"], said.err


def test_its_session_keyring_is_its_own(lab: Lab) -> None:
    """Keys of whoever started it would else be in its reach: keyctl(2), which the usual profile of
    system calls denies."""
    program = (
        "import ctypes, os; "
        f"print(ctypes.CDLL(None).syscall({KEYCTL}[os.uname().machine], 0, -3, 0))"
    )

    inside = lab.run("/usr/bin/python3", "-c", program, seccomp="unconfined")

    assert int(inside.out) > 0
    assert int(inside.out) != session_keyring_id()


def test_nothing_of_it_survives_process_one(lab: Lab) -> None:
    with lab.running("sh", "-c", "sleep 1000 & sleep 1000 & wait") as (container, _):
        children = Path(f"/proc/{container.process.pid}/task/{container.process.pid}/children")
        while len(children.read_text().split()) < 2:
            assert container.process.poll() is None
        pids = children.read_text().split()
        container.process.send_signal(signal.SIGKILL)
        container.process.wait()
        assert not [pid for pid in pids if Path("/proc", pid).exists()]
    assert lab.left() == []


def test_the_hosts_device_nodes_cannot_be_changed(lab: Lab) -> None:
    before = [os.stat(path).st_mode for path in ("/dev/full", "/dev/null")]  # noqa: PTH116

    said = lab.sh("chmod 646 /dev/full; chmod 600 /proc/timer_list; echo x > /dev/null && echo ok")

    assert [os.stat(path).st_mode for path in ("/dev/full", "/dev/null")] == before  # noqa: PTH116
    assert said.out == "ok\n", "the device itself can be used"


@pytest.mark.parametrize(
    ("link", "more"),
    [
        pytest.param("/proc", {"volumes": "/etc:/data"}, id="volume-over-proc"),
        pytest.param("/proc/sys", {"tmpfs": "/data"}, id="tmpfs-over-proc-sys"),
        pytest.param("/sys/fs", {"volumes": "/etc:/data"}, id="volume-over-sys"),
    ],
)
def test_a_link_of_the_root_leads_no_mount_into_procfs(
    lab: Lab, tmp_path: Path, link: str, more: dict[str, str]
) -> None:
    root = tiny_root(tmp_path / "root")
    (root / "data").symlink_to(link)
    parse: dict[str, Any] = {"volumes": parse_volume, "tmpfs": parse_tmpfs}

    with pytest.raises(KernelError, match="it leads into /") as caught:
        lab.sh("true", rootfs=str(root), **{key: (parse[key](word),) for key, word in more.items()})

    assert caught.value.errno == errno.ELOOP
    assert lab.left() == []
