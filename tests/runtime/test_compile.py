"""From config.json to steps: the order of things, and what is refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cgmgr import linux
from cgmgr.errors import RequestError
from cgmgr.runtime import capabilities, compile, handshake, init, layout, namespaces, spec
from cgmgr.runtime.cgroups import HierarchyMount
from cgmgr.runtime.compile import Setup
from cgmgr.runtime.devices import Device
from cgmgr.runtime.identity import BecomeUser
from cgmgr.runtime.layout import Facts
from cgmgr.runtime.overlay import MountOverlay
from cgmgr.runtime.steps import BindRoot, MakeDirectory, MountBind, Step
from cgmgr.runtime.volumes import Volume
from cgmgr.units import MAX_U64

STORE = "/var/lib/cgmgr/containers"
BUNDLE = f"{STORE}/web"
UNIFIED = Facts(hierarchies=(HierarchyMount(name="", fstype="cgroup2"),))
LEGACY = Facts(
    hierarchies=(
        HierarchyMount(
            name="cpu,cpuacct",
            fstype="cgroup",
            options=("cpu", "cpuacct"),
            links=("cpu", "cpuacct"),
        ),
        HierarchyMount(name="systemd", fstype="cgroup", options=("name=systemd",)),
        HierarchyMount(name="unified", fstype="cgroup2"),
    )
)


def config(**fields: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {"id": "web", "rootfs": spec.HOST, "argv": ("ps", "-ef")}
    return spec.build(spec.ContainerRequest(**plain | fields), STORE)


def compiled(document: dict[str, Any], facts: Facts = UNIFIED) -> Setup:
    return compile.compile_config(document, BUNDLE, facts)


HOST = """\
clone a process into new namespaces: mount, uts, ipc, network, pid, cgroup
mount --make-rslave /
hostname web
ip link set lo up
cd /var/lib/cgmgr/containers/web && mount -t overlay -o nodev,lowerdir=/,upperdir=upper,\
workdir=work,index=off,metacopy=off,redirect_dir=off,volatile overlay merged
mount -t proc -o nosuid,noexec,nodev proc /proc
mount -t tmpfs -o nosuid,noexec,strictatime,mode=755,size=65536k tmpfs /dev
mount -t sysfs -o nosuid,noexec,nodev,ro sysfs /sys
mount -t tmpfs -o nosuid,nodev,mode=755,size=65536k tmpfs /run
mount -t devpts -o nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5 devpts /dev/pts
mount -t mqueue -o nosuid,noexec,nodev mqueue /dev/mqueue
mount -t tmpfs -o nosuid,noexec,nodev,mode=1777,size=67108864 shm /dev/shm
mount -t cgroup2 -o nosuid,noexec,nodev,relatime,ro cgroup /sys/fs/cgroup
mknod -m 666 /dev/null c 1 3
mknod -m 666 /dev/zero c 1 5
mknod -m 666 /dev/full c 1 7
mknod -m 666 /dev/random c 1 8
mknod -m 666 /dev/urandom c 1 9
mknod -m 666 /dev/tty c 5 0
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
ln -s pts/ptmx /dev/ptmx
hide /proc/acpi, if it is there
hide /proc/asound, if it is there
hide /proc/kcore, if it is there
hide /proc/keys, if it is there
hide /proc/latency_stats, if it is there
hide /proc/timer_list, if it is there
hide /proc/timer_stats, if it is there
hide /proc/sched_debug, if it is there
hide /proc/scsi, if it is there
hide /sys/firmware, if it is there
hide /sys/devices/virtual/powercap, if it is there
hide /var/lib/cgmgr/containers, if it is there
mount -o rbind,rro /proc/bus /proc/bus, if it is there
mount -o rbind,rro /proc/fs /proc/fs, if it is there
mount -o rbind,rro /proc/irq /proc/irq, if it is there
mount -o rbind,rro /proc/sys /proc/sys, if it is there
mount -o rbind,rro /proc/sysrq-trigger /proc/sysrq-trigger, if it is there
pivot_root . . && umount -l .
cd /
become user 0, group 0, more groups none, umask 022, capabilities \
CHOWN,DAC_OVERRIDE,FOWNER,FSETID,KILL,SETGID,SETUID,SETPCAP,NET_BIND_SERVICE,SYS_CHROOT,SETFCAP, \
no new privileges
load a seccomp filter: 2 calls, else errno EPERM, also for x86
exec ps -ef"""
#: the default one is as long as the machine is old
SECCOMP: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "architectures": ["SCMP_ARCH_X86"],
    "syscalls": [{"names": ["read", "execve"], "action": "SCMP_ACT_ALLOW"}],
}


def test_the_hosts_root_step_by_step() -> None:
    document = config()
    document["process"]["user"]["additionalGids"] = []  # whatever this machine's root is in
    document["linux"]["seccomp"] = SECCOMP

    assert "\n".join(compiled(document).describe()) == HOST


@pytest.mark.parametrize(
    ("fields", "until_exec"),
    [
        ({}, ()),
        ({"no_new_privileges": False}, ("SYS_ADMIN",)),
        ({"no_new_privileges": False, "seccomp": "unconfined"}, ()),
    ],
    ids=["no-new-privileges", "new-privileges", "no-filter"],
)
def test_what_loads_a_filter_is_held_until_exec(
    fields: dict[str, Any], until_exec: tuple[str, ...]
) -> None:
    setup = compiled(config(**fields))

    user = setup.steps[-1]
    assert isinstance(user, BecomeUser)
    assert capabilities.names_of(user.until_exec) == until_exec
    assert ("SYS_ADMIN until exec" in user.describe()) is bool(until_exec)
    assert (setup.filter is None) is ("seccomp" in fields)


def test_what_somebody_who_is_asked_is_told() -> None:
    setup = compiled(config())

    assert set(setup.about) == {"ociVersion", "status", "bundle", "annotations"}
    assert (setup.about["status"], setup.about["bundle"]) == ("creating", BUNDLE)


def test_steps_and_program_survive_their_encoding() -> None:
    setup = compiled(config(terminal=True, oom_score_adj=1, read_only=True), LEGACY)
    program = setup.program.replace(filter=bytes(range(256)), filter_flags=8)
    data = handshake.encode(setup.steps, program)

    assert handshake.decode(data, init.KINDS) == (list(setup.steps), program)


def test_every_step_says_itself_and_does_itself() -> None:
    for kind in init.KINDS.values():
        assert kind.describe is not Step.describe, kind
        assert kind.execute is not Step.execute, kind


def lines(setup: Setup, containing: str) -> list[str]:
    return [line for line in setup.describe() if containing in line]


def test_legacy_hierarchies_are_mounted_one_by_one() -> None:
    options = "nosuid,noexec,nodev,relatime,ro"

    assert lines(compiled(config(), LEGACY), "/sys/fs/cgroup") == [
        "mount -t tmpfs -o nosuid,noexec,nodev,relatime,mode=755,size=64k tmpfs /sys/fs/cgroup",
        f"mount -t cgroup -o {options},cpu,cpuacct cgroup /sys/fs/cgroup/cpu,cpuacct",
        "ln -s cpu,cpuacct /sys/fs/cgroup/cpu",
        "ln -s cpu,cpuacct /sys/fs/cgroup/cpuacct",
        f"mount -t cgroup -o {options},name=systemd cgroup /sys/fs/cgroup/systemd",
        f"mount -t cgroup2 -o {options} cgroup /sys/fs/cgroup/unified",
        "mount -o remount,bind,ro /sys/fs/cgroup",
    ]


@pytest.mark.parametrize("facts", [UNIFIED, LEGACY], ids=["unified", "legacy"])
def test_without_a_cgroup_namespace_the_hosts_are_bound(facts: Facts) -> None:
    shared = tuple(name for name in namespaces.DEFAULT if name != "cgroup")
    setup = compiled(config(namespaces=shared), facts)

    assert lines(setup, "/sys/fs/cgroup") == [
        "mount -o rbind,nosuid,noexec,nodev,relatime,rro /sys/fs/cgroup /sys/fs/cgroup"
    ]
    assert not setup.clone_flags & linux.CLONE_NEWCGROUP


def test_without_hierarchies_none_is_mounted() -> None:
    assert lines(compiled(config(), Facts()), "/sys/fs/cgroup") == []


def test_namespaces_that_are_shared_are_left_alone() -> None:
    setup = compiled(config(namespaces=("mount", "pid")))

    assert setup.clone_flags == linux.CLONE_NEWNS | linux.CLONE_NEWPID
    assert not lines(setup, "hostname")
    assert not lines(setup, "ip link")


def test_a_read_only_root_and_a_terminal() -> None:
    said = compiled(config(read_only=True, terminal=True)).describe()

    terminal = said.index("a terminal in /dev/pts, also bound to /dev/console")
    read_only = said.index("mount -o remount,bind,ro /")
    assert said.index("ln -s pts/ptmx /dev/ptmx") < terminal < read_only
    assert read_only < said.index("pivot_root . . && umount -l .")


def overlay_of(setup: Setup) -> MountOverlay:
    (found,) = [step for step in setup.steps if isinstance(step, MountOverlay)]
    return found


def test_mount_points_that_the_root_must_have(tmp_path: Path) -> None:
    volumes = (
        Volume(source="/dir", destination="/data/x"),
        Volume(source="/file", destination="/etc/file"),
        Volume(source="/dir", destination="/run/below-a-tmpfs"),
        Volume(source="/dir", destination="/data/x/below"),
    )
    document = config(volumes=volumes, cwd="/srv/dir")
    setup = compiled(document, UNIFIED.replace(files=frozenset({"/file"})))

    mounted = overlay_of(setup)
    assert mounted.directories == ("/proc", "/dev", "/sys", "/run", "/data/x", "/srv/dir")
    assert mounted.files == ("/etc/file",)


def test_devices_that_are_asked_for() -> None:
    document = config(
        devices=(
            Device(path="/dev/null", kind="c", major=1, minor=3, mode=0o600),
            Device(path="/opt/disk", kind="b", major=7, minor=0, mode=0o640, uid=1, gid=6),
        )
    )
    setup = compiled(document)

    assert len(lines(setup, " /dev/null c 1 3")) == 1, "not the usual one in the same place"
    assert lines(setup, "mknod")[-2:] == [
        "mknod -m 600 /dev/null c 1 3",
        "mknod -m 640 /opt/disk b 7 0 && chown 1:6 /opt/disk",
    ]
    assert overlay_of(setup).files == ("/opt/disk",)


@pytest.mark.parametrize("cwd", ["/dev/shm/x", "/"])
def test_a_directory_below_a_mount_is_not_made_in_the_root(cwd: str) -> None:
    assert cwd not in overlay_of(compiled(config(cwd=cwd))).directories


@pytest.mark.parametrize(
    ("cwd", "layered", "made"),
    [
        pytest.param("/dev/shm/x", True, True, id="in-a-mount"),
        pytest.param("/dev/shm", True, False, id="a-mount"),
        pytest.param("/srv", True, False, id="in-a-layer"),
        pytest.param("/srv", False, True, id="without-layers"),
        pytest.param("/", False, False, id="the-root"),
    ],
)
def test_where_the_working_directory_is_made(cwd: str, layered: bool, made: bool) -> None:
    document = config(cwd=cwd)
    if not layered:
        document["annotations"], document["root"] = {}, {"path": "rootfs"}

    assert (MakeDirectory(path=cwd) in compiled(document).steps) == made


def test_a_bundle_without_layers() -> None:
    document = config()
    document["annotations"] = {}
    document["root"] = {"path": "rootfs"}

    assert BindRoot(path=f"{BUNDLE}/rootfs") in compiled(document).steps


def test_a_dev_of_the_hosts_is_left_as_it_is() -> None:
    document = config()
    (dev,) = [mount for mount in document["mounts"] if mount["destination"] == "/dev"]
    dev.update(type="bind", source="/dev", options=["rbind"])

    assert not lines(compiled(document), "mknod")


def test_relative_sources_are_the_bundles() -> None:
    document = config()
    document["mounts"] = [{"destination": "/x", "type": "bind", "source": "data"}]
    (bind,) = [step for step in compiled(document).steps if isinstance(step, MountBind)]

    assert bind.source == f"{BUNDLE}/data"


def test_sources_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    document = config(
        volumes=(
            Volume(source=str(tmp_path / "file"), destination="/x"),
            Volume(source=str(tmp_path / "folder"), destination="/y"),
        )
    )

    assert layout.observe(document, BUNDLE, ()).files == {str(tmp_path / "file")}


def test_a_source_that_is_missing(tmp_path: Path) -> None:
    document = config(volumes=(Volume(source=f"{tmp_path}/missing", destination="/x"),))

    with pytest.raises(RequestError, match="missing") as caught:
        layout.observe(document, BUNDLE, ())

    assert caught.value.hint == f"mkdir -p {tmp_path}/missing"


def test_ambient_capabilities_are_those_that_the_kernel_takes() -> None:
    document = config()
    document["process"]["capabilities"] = {
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_FOWNER"],
        "effective": ["CAP_KILL"],
        "permitted": ["CAP_KILL", "CAP_CHOWN"],
        "inheritable": ["CAP_KILL", "CAP_FOWNER"],
        "ambient": ["CAP_KILL", "CAP_CHOWN", "CAP_FOWNER"],
    }

    user = compiled(document).steps[-1]

    assert isinstance(user, BecomeUser)
    assert capabilities.names_of(user.ambient) == ("KILL",)
    assert capabilities.names_of(user.permitted) == ("CHOWN", "KILL")


def put(*path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for key in path[:-1]:
            document = document.setdefault(key, {})
        document[path[-1]] = value

    return change


def no_root(document: dict[str, Any]) -> None:
    document.update(root={}, annotations={})


FIFO = {"path": "/dev/x", "type": "p", "major": 0, "minor": 0}

REFUSED = {
    "hooks": put("hooks", value={"prestart": [{"path": "/bin/true"}]}),
    "linux.seccomp.defaultAction": put("linux", "seccomp", value={"defaultAction": "ALLOW"}),
    "devices[0] lacks type": put("linux", "devices", value=[{"path": "/dev/fuse"}]),
    "'p' is not supported": put("linux", "devices", value=[FIFO]),
    "sysctl.vm.swappiness: it is no setting": put("linux", "sysctl", value={"vm.swappiness": "1"}),
    "it is no setting of a namespace": put("linux", "sysctl", value={"net.ipv4../vm/x": "1"}),
    "it needs a user namespace": put("linux", "sysctl", value={"user.max_pid_namespaces": "1"}),
    "linux.uidMappings": put("linux", "uidMappings", value=[{"size": 1}]),
    "process.apparmorProfile": put("process", "apparmorProfile", value="x"),
    "process.args": put("process", "args", value=[1]),
    "lacks args": put("process", "args", value=None),
    "lacks cwd": put("process", "cwd", value=None),
    "process.cwd": put("process", "cwd", value="relative"),
    "process.env": put("process", "env", value=["NOVALUE"]),
    "process.rlimits[0].type": put("process", "rlimits", value=[{"type": "RLIMIT_X"}]),
    "process.rlimits[0].soft: it is above the hard limit": put(
        "process", "rlimits", value=[{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]
    ),
    "process.rlimits[0].soft: it is above": put(
        "process", "rlimits", value=[{"type": "RLIMIT_CPU", "soft": MAX_U64, "hard": 1}]
    ),
    "lacks soft": put("process", "rlimits", value=[{"type": "RLIMIT_CPU", "hard": 1}]),
    "additionalGids": put("process", "user", value={"additionalGids": ["4"]}),
    "terminal": put("process", "terminal", value="yes"),
    "root lacks path": no_root,
    "oomScoreAdj": put("process", "oomScoreAdj", value=1001),
    "uid": put("process", "user", "uid", value=1 << 32),
    "umask": put("process", "user", "umask", value=0o1000),
    "process is": put("process", value=["true"]),
    "args: there is no command": put("process", "args", value=[]),
    "linux.namespaces": put("linux", "namespaces", value=[{"type": "pid"}]),
    "joining": put("linux", "namespaces", value=[{"type": "user", "path": "/proc/1/ns/user"}]),
    "user is not": put("linux", "namespaces", value=[{"type": "mount"}, {"type": "user"}]),
    "unknown namespace": put("linux", "namespaces", value=[{"type": "net"}]),
    "rootfsPropagation": put("linux", "rootfsPropagation", value="shared"),
    "mounts": put("mounts", value=[{"destination": "/", "type": "tmpfs"}]),
    "remount": put("mounts", value=[{"destination": "/x", "options": ["remount"]}]),
    "capability": put("process", "capabilities", value={"bounding": ["CAP_X"]}),
    "hostname": put("linux", "namespaces", value=[{"type": "mount"}]),
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_what_is_not_done_is_refused_by_name(
    change: Callable[[dict[str, Any]], None], request: pytest.FixtureRequest
) -> None:
    document = copy.deepcopy(config())
    change(document)

    with pytest.raises(RequestError) as caught:
        compiled(document)

    assert request.node.callspec.id in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        put("linux", "seccomp", value=None),
        put("hooks", value={}),
        put("linux", "devices", value=[]),
        put("linux", "rootfsPropagation", value="rslave"),
    ],
    ids=["null", "empty-object", "empty-list", "rslave"],
)
def test_what_says_nothing_is_not_refused(change: Callable[[dict[str, Any]], None]) -> None:
    document = config()
    change(document)

    compiled(document)


def test_what_the_specification_does_not_know_is_ignored() -> None:
    document = config()
    before = compiled(document)
    document["x-vendor"] = {"a": 1}
    document["process"]["later"] = True
    document["linux"]["someday"] = ["x"]

    assert compiled(document) == before
