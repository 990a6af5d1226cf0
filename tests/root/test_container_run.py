"""A container's life on this kernel: its command, its root, its names, its end."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cgmgr.errors import CgmgrError, KernelError, NameTaken, RequestError
from cgmgr.host import Host
from cgmgr.runtime import launcher, namespaces, spec
from cgmgr.runtime.launcher import Container
from cgmgr.runtime.spec import Ulimit
from cgmgr.runtime.volumes import Tmpfs, parse_tmpfs, parse_volume
from tests.leaks import mounts

from .containers import Lab, tiny_root, tmpfs


@pytest.fixture
def lab(tmp_path: Path, run_token: str) -> Lab:
    return Lab(Host.detect(), tmp_path, run_token)


# -- the command and its end


@pytest.mark.parametrize("status", [0, 7, 255])
def test_exit_status(lab: Lab, status: int) -> None:
    assert lab.sh(f"exit {status}").code == status
    assert lab.left() == []


def test_death_by_a_signal(lab: Lab) -> None:
    """PID 1 of a namespace is deaf to its own signals by default, not to those from outside."""
    with lab.running("sleep", "1000") as (container, _):
        container.process.send_signal(signal.SIGKILL)
        assert container.process.wait() == 128 + signal.SIGKILL
    assert lab.left() == []


def test_the_command_is_process_one(lab: Lab) -> None:
    lines = lab.run("ps", "-e", "-o", "pid,ppid,args").out.split("\n")

    assert [line.split() for line in lines[1:2]] == [["1", "0", "ps", "-e", "-o", "pid,ppid,args"]]
    assert lines[2:] == [""]


def test_output_and_errors_are_the_callers(lab: Lab) -> None:
    ended = lab.sh("echo out; echo err >&2; cat")

    assert (ended.out, ended.err) == ("out\n", "err\n")


MISSING = [
    pytest.param(("nope",), errno.ENOENT, "not found in", id="not-in-path"),
    pytest.param(("/nope",), errno.ENOENT, "/nope", id="no-such-file"),
    pytest.param(("/etc/passwd",), errno.EACCES, "/etc/passwd", id="not-executable"),
    pytest.param(("/etc",), errno.EACCES, "/etc", id="directory"),
    pytest.param(("/etc/passwd/x",), errno.ENOTDIR, "/etc/passwd/x", id="below-a-file"),
    pytest.param(("/x/text",), errno.ENOEXEC, "/x/text", id="no-program"),
    pytest.param(("/x/lost",), errno.ENOENT, "interpreter", id="lost-interpreter"),
]


@pytest.mark.parametrize(("argv", "number", "words"), MISSING)
def test_a_command_that_cannot_be_executed(
    lab: Lab, tmp_path: Path, argv: tuple[str, ...], number: int, words: str
) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name, text in (("text", "no program"), ("lost", "#!/nope/interpreter\n")):
        (scripts / name).write_text(text)
        (scripts / name).chmod(0o755)

    with pytest.raises(KernelError, match=words) as caught:
        lab.run(*argv, volumes=(parse_volume(f"{scripts}:/x"),))

    assert (caught.value.operation, caught.value.errno) == ("exec", number)
    assert lab.left() == []


def test_the_path_is_the_containers(lab: Lab, tmp_path: Path) -> None:
    root = tiny_root(tmp_path / "root")
    (root / "tools").mkdir()
    (root / "tools/mine").symlink_to("/bin/busybox")
    (root / "tools/closed").write_text("")

    env = ("PATH=/nope:/tools:",)
    assert lab.run("sh", "-c", "echo ok", rootfs=str(root), env=("PATH=/bin",)).out == "ok\n"
    with pytest.raises(KernelError) as caught:
        lab.run("closed", rootfs=str(root), env=env)
    assert caught.value.errno == errno.EACCES
    with pytest.raises(KernelError) as caught:
        lab.run("true", rootfs=str(root), env=env, cwd="/bin")
    assert caught.value.errno == errno.ENOENT


# -- who and where it is


def test_names_and_places(lab: Lab) -> None:
    said = lab.sh(
        "hostname; pwd; umask; echo $HOME; echo $PATH; env | wc -l",
        hostname="box",
        cwd="/made/here",
    )

    assert said.out.split("\n") == ["box", "/made/here", "0022", "/root", spec.PATH, "4", ""]


def test_a_user_and_his_groups(lab: Lab, tmp_path: Path) -> None:
    root = tiny_root(tmp_path / "root")
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("alice:x:1000:100::/home/alice:\n")
    (root / "etc/group").write_text("adm:x:4:alice\n")

    said = lab.run("sh", "-c", "id -u; id -g; id -G; echo $HOME", rootfs=str(root), user="alice")

    assert said.out.split("\n") == ["1000", "100", "100 4", "/home/alice", ""]


def test_the_loopback_is_up_and_alone(lab: Lab) -> None:
    script = (
        "import socket; s = socket.create_server(('127.0.0.1', 0));"
        "socket.create_connection(s.getsockname()); print(socket.if_nameindex())"
    )

    assert lab.run("/usr/bin/python3", "-c", script).out == "[(1, 'lo')]\n"


def test_namespaces_of_its_own_or_the_hosts(lab: Lab) -> None:
    names = ("mnt", "uts", "pid", "net", "ipc", "cgroup", "user")
    script = "for n in " + " ".join(names) + "; do readlink /proc/self/ns/$n; done"
    hosts = [os.readlink(f"/proc/self/ns/{name}") for name in names]  # noqa: PTH115

    own = lab.sh(script).out.split()
    shared = lab.sh(script, namespaces=("mount",)).out.split()

    assert [inside == outside for inside, outside in zip(own, hosts, strict=True)] == [
        *[False] * 6,
        True,
    ]
    assert [inside == outside for inside, outside in zip(shared, hosts, strict=True)] == [
        False,
        *[True] * 6,
    ]


def test_nothing_but_the_three_descriptors(lab: Lab) -> None:
    extra = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(extra, True)
    try:
        said = lab.sh("echo /proc/$$/fd/*; ls /proc/1/fd")
    finally:
        os.close(extra)

    assert said.out.split("\n")[1:] == ["0", "1", "2", ""]


def test_signals_are_as_they_should_be(lab: Lab) -> None:
    said = lab.sh("grep -E 'Sig(Blk|Ign)' /proc/self/status; yes | head -n 1")

    assert said.out.split() == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16, "y"]
    assert said.err == ""


def test_limits_of_each_process(lab: Lab) -> None:
    said = lab.sh(
        "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj",
        ulimits=(Ulimit(name="nofile", soft=100, hard=200),),
        oom_score_adj=500,
    )

    assert said.out.split() == ["100", "200", "500"]


@pytest.mark.parametrize("fields", [{"oom_score_adj": -1000}], ids=["oom-score"])
def test_what_the_kernel_refuses_is_said(lab: Lab, fields: dict[str, Any]) -> None:
    """Only where this run may not do it either."""
    try:
        Path("/proc/self/oom_score_adj").write_text("-1000")
    except OSError:
        pass
    else:
        Path("/proc/self/oom_score_adj").write_text("0")
        pytest.skip("this run may lower its oom score")

    with pytest.raises(KernelError, match="oom_score_adj") as caught:
        lab.run("true", **fields)

    assert caught.value.errno == errno.EACCES
    assert "CAP_SYS_RESOURCE" in str(caught.value)
    assert lab.left() == []


# -- its root


def test_what_it_writes_is_in_upper_and_nowhere_else(lab: Lab) -> None:
    marker = Path(f"/{lab.token}-marker")
    before = mounts()
    script = f"echo text > {marker}; exec sleep 1000"
    with (
        lab.streams() as (streams, _),
        Container.create(lab.request("sh", "-c", script), lab.launch(**streams)) as container,
    ):
        upper = Path(container.bundle, "upper")
        assert list(upper.iterdir()) == []

        container.start()
        inside = Path(f"/proc/{container.process.pid}/root{marker}")
        while not inside.exists() or not inside.read_text():
            assert container.process.poll() is None

        assert inside.read_text() == "text\n"
        assert (upper / marker.name).read_text() == "text\n"
        assert not marker.exists()
        assert mounts() == before
    assert lab.left() == []


def test_upper_is_empty_whatever_the_root_lacks(lab: Lab, tmp_path: Path) -> None:
    root = tiny_root(tmp_path / "root")
    (root / "etc").mkdir(mode=0o711)
    os.chown(root / "etc", 5, 6)
    request = lab.request(
        "/bin/sleep",
        "1000",
        rootfs=str(root),
        cwd="/new/place",
        tmpfs=(Tmpfs(destination="/etc/below"),),
        volumes=(parse_volume("/etc/passwd:/etc/file:ro"), parse_volume("/usr:/a/b/c:ro")),
    )

    with Container.create(request, lab.launch()) as container:
        inside = Path(f"/proc/{container.process.pid}/root")
        assert list(Path(container.bundle, "upper").iterdir()) == []
        assert (inside / "etc/file").read_bytes() == Path("/etc/passwd").read_bytes()
        assert (inside / "a/b/c/bin").is_dir()
        assert (inside / "new/place").is_dir()
        status = (inside / "etc").stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (5, 6, 0o711)
    assert sorted(entry.name for entry in root.iterdir()) == ["bin", "etc"]
    assert list((root / "etc").iterdir()) == []
    assert lab.left() == []


def test_the_hosts_root_has_own_proc_dev_sys_run(lab: Lab) -> None:
    with lab.running("sleep", "1000") as (_, inside):
        for name in ("proc", "dev", "sys", "run"):
            assert (inside / name).stat().st_dev != Path("/", name).stat().st_dev, name
        assert list((inside / "run").iterdir()) == []
        assert (inside / "etc/passwd").read_bytes() == Path("/etc/passwd").read_bytes()
        assert list((inside / str(lab.store).lstrip("/")).iterdir()) == []


def test_a_root_shows_owner_and_mode_of_the_directory(lab: Lab, tmp_path: Path) -> None:
    root = tiny_root(tmp_path / "root")
    root.chmod(0o1751)
    os.chown(root, 7, 8)

    assert lab.run("stat", "-c", "%a %u %g", "/", rootfs=str(root)).out == "1751 7 8\n"


@pytest.mark.parametrize("name", ["a:b", "a,b", "a\\b", "a b", "ä", "a\\:,b"])
def test_odd_paths(lab: Lab, tmp_path: Path, name: str) -> None:
    root = tiny_root(tmp_path / name)

    assert lab.run("echo", "ok", rootfs=str(root)).out == "ok\n"


def test_a_path_that_is_too_long(lab: Lab, tmp_path: Path) -> None:
    root = tmp_path
    while len(str(root)) < 4090:
        room = 4090 - len(str(root))
        root = root / ("x" * min(200, max(room - 1, 1)))
    os.chdir(tmp_path)
    for part in root.relative_to(tmp_path).parts:
        Path(part).mkdir()
        os.chdir(part)
    os.chdir("/")

    with pytest.raises(CgmgrError) as caught:
        lab.run("true", rootfs=str(root))

    assert caught.value.errno == errno.E2BIG
    assert lab.left() == []


def test_a_read_only_root(lab: Lab) -> None:
    script = "touch /x; touch /etc/x; touch /tmp/x && echo tmp; touch /dev/shm/x && echo shm"
    said = lab.sh(script, read_only=True, tmpfs=(parse_tmpfs("/tmp"),))

    assert said.out.split() == ["tmp", "shm"]
    assert said.err.count("Read-only file system") == 2


def test_a_tmpfs_with_options(lab: Lab) -> None:
    said = lab.sh("grep ' /data ' /proc/mounts", tmpfs=(parse_tmpfs("/data:size=1m,mode=1700,ro"),))

    assert said.out.split()[:3] == ["tmpfs", "/data", "tmpfs"]
    assert {"ro", "nosuid", "nodev", "noexec", "size=1024k", "mode=1700"} <= set(
        said.out.split()[3].split(",")
    )


def test_volumes(lab: Lab, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    volumes = (parse_volume(f"{source}:/rw"), parse_volume(f"{source}:/r/o:ro"))

    said = lab.sh("echo text > /rw/file; cat /r/o/file; touch /r/o/x", volumes=volumes)

    assert said.out == "text\n"
    assert "Read-only" in said.err
    assert (source / "file").read_text() == "text\n"


def test_a_read_only_volume_is_so_all_the_way_down(lab: Lab, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    with tmpfs(source / "below"):
        said = lab.sh("touch /v/below/x", volumes=(parse_volume(f"{source}:/v:ro"),))

    assert "Read-only" in said.err


def test_a_volume_in_a_volume(lab: Lab, tmp_path: Path) -> None:
    for name in ("outer", "inner"):
        (tmp_path / name).mkdir()
    (tmp_path / "outer/sub").mkdir()
    (tmp_path / "inner/file").write_text("")
    volumes = (
        parse_volume(f"{tmp_path}/inner:/v/sub"),
        parse_volume(f"{tmp_path}/outer:/v"),
    )

    assert lab.sh("ls /v/sub", volumes=volumes).out == "file\n"


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        pytest.param({"tmpfs": "/v/sub"}, "mkdir -p {outer}/sub", id="tmpfs"),
        pytest.param({"volumes": "/etc:/v/sub/deep"}, "mkdir -p {outer}/sub/deep", id="directory"),
        pytest.param({"volumes": "/etc/passwd:/v/file"}, "touch {outer}/file", id="file"),
        pytest.param({"cwd": "/v/sub"}, "mkdir -p {outer}/sub", id="working-directory"),
    ],
)
@pytest.mark.parametrize("mode", ["rw", "ro"])
def test_nothing_is_made_in_a_directory_of_the_host(
    lab: Lab, tmp_path: Path, more: dict[str, str], hint: str, mode: str
) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()

    with pytest.raises(RequestError, match="nothing is made in a directory of the host") as caught:
        lab.sh("true", **with_volume(f"{outer}:/v:{mode}", more))

    assert caught.value.hint == hint.format(outer=outer)
    assert list(outer.iterdir()) == []
    assert not lab.store.exists()


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"tmpfs": "/v/link/sub"}, id="through-a-link-of-the-volume"),
        pytest.param({"tmpfs": "/other/sub"}, id="through-a-link-of-the-root"),
        pytest.param({"cwd": "/other/sub"}, id="working-directory"),
        pytest.param({"tmpfs": "/v/dangling"}, id="a-dangling-link"),
    ],
)
def test_a_link_makes_nothing_on_the_host_either(
    lab: Lab, tmp_path: Path, more: dict[str, str]
) -> None:
    outer, root = tmp_path / "outer", tiny_root(tmp_path / "root")
    (outer / "real").mkdir(parents=True)
    (outer / "link").symlink_to("real")
    (outer / "dangling").symlink_to("/v/real/new")
    (root / "other").symlink_to("/v/real")

    with pytest.raises(KernelError) as caught:
        lab.sh("true", rootfs=str(root), **with_volume(f"{outer}:/v", more))

    assert caught.value.errno == errno.ENOENT
    assert list((outer / "real").iterdir()) == []
    assert lab.left() == []


def with_volume(first: str, more: dict[str, str]) -> dict[str, Any]:
    """Fields of a request, from the words of options."""
    parse: dict[str, Callable[[str], Any]] = {"volumes": parse_volume, "tmpfs": parse_tmpfs}
    fields: dict[str, Any] = {"volumes": (parse_volume(first),)}
    for key, word in more.items():
        fields[key] = (*fields.get(key, ()), parse[key](word)) if key in parse else word
    return fields


def test_a_volume_over_a_link_to_dev_gets_nothing_made_in_it(lab: Lab, tmp_path: Path) -> None:
    outer, root = tmp_path / "outer", tiny_root(tmp_path / "root")
    outer.mkdir()
    (root / "data").symlink_to("dev")

    with pytest.raises(KernelError, match="nothing is made in a directory of the host"):
        lab.sh("true", rootfs=str(root), volumes=(parse_volume(f"{outer}:/data"),))

    assert list(outer.iterdir()) == []
    assert lab.left() == []


def test_what_is_missing_in_a_tmpfs_is_made(lab: Lab) -> None:
    said = lab.sh(
        "pwd; ls /t/a; grep -c ' /t/b/c ' /proc/mounts",
        tmpfs=(parse_tmpfs("/t"), parse_tmpfs("/t/b/c")),
        volumes=(parse_volume("/etc/passwd:/t/a/file:ro"),),
        cwd="/t/new/place",
    )

    assert said.out.split() == ["/t/new/place", "file", "1"]


def test_a_volume_onto_the_other_kind(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="/etc/passwd") as caught:
        lab.run("true", volumes=(parse_volume(f"{tmp_path}:/etc/passwd"),))

    assert caught.value.errno == errno.ENOTDIR
    assert lab.left() == []


@pytest.mark.parametrize("missing", ["", "/x/y"], ids=["all-there", "one-missing"])
def test_what_stands_in_the_way_is_named_by_who_needs_the_place(
    lab: Lab, tmp_path: Path, missing: str
) -> None:
    root = tiny_root(tmp_path / "root")
    for name in ("proc", "dev", "sys"):
        (root / name).mkdir()
    more = (parse_tmpfs(missing),) if missing else ()
    for cwd in ("/bin/sh", "/bin/sh/below"):
        with pytest.raises(KernelError, match=f"make container: cd {cwd}: not a dir") as caught:
            lab.run("true", rootfs=str(root), cwd=cwd, tmpfs=more)
        assert caught.value.errno == errno.ENOTDIR
    with pytest.raises(KernelError, match=r"container: mount -t tmpfs .* /bin/sh: not a directory"):
        lab.run("true", rootfs=str(root), tmpfs=(*more, parse_tmpfs("/bin/sh")))
    assert lab.left() == []


def test_shared_memory_and_queues(lab: Lab) -> None:
    script = "grep -E ' /dev/(shm|mqueue|pts) ' /proc/mounts | cut -d' ' -f2,3"
    said = lab.sh(script, shm_bytes=1 << 20)

    assert sorted(said.out.splitlines()) == [
        "/dev/mqueue mqueue",
        "/dev/pts devpts",
        "/dev/shm tmpfs",
    ]


def test_the_devices_work(lab: Lab) -> None:
    script = (
        "head -c 2 /dev/zero | od -An -tx1; head -c 9 /dev/urandom | wc -c;"
        "echo x > /dev/null; cat /etc/passwd > /dev/full; ls -l /dev | grep -c ^c;"
        "echo fd >> /dev/fd/1; echo out >> /dev/stdout"
    )
    said = lab.sh(script)

    assert said.out.split("\n") == [" 00 00", "9", "6", "fd", "out", ""]
    assert "No space left" in said.err


def test_mounts_stay_inside_on_a_host_that_shares_its_own(lab: Lab) -> None:
    """As with systemd, which makes every mount so."""
    program = (
        "from pathlib import Path; from cgmgr.host import Host;"
        "from cgmgr.runtime import launcher, spec;"
        "mounts = lambda: Path('/proc/self/mountinfo').read_text();"
        "before = mounts();"
        f"request = spec.ContainerRequest(id={lab.name()!r}, rootfs='host', argv=('true',));"
        f"launch = launcher.Launch(host=Host.detect(), store={str(lab.store)!r},"
        f" run_root={str(lab.run_root)!r});"
        "container = launcher.Container.create(request, launch);"
        "assert mounts() == before, mounts();"
        "container.start(); container.process.wait(); container.remove();"
        "assert ' shared:' in before and mounts() == before"
    )
    words = ["unshare", "--mount", "--propagation", "shared", sys.executable, "-c", program]

    subprocess.run(words, check=True, cwd=Path(__file__).parents[2])

    assert lab.left() == []


# -- a bundle of somebody else


def test_a_bundle_with_a_root_of_its_own(lab: Lab, tmp_path: Path) -> None:
    tiny_root(tmp_path / "bundle/rootfs")
    config = spec.build(lab.request("sh", "-c", "echo text > /made; echo ok"), "/nonexistent")
    config["annotations"] = {}
    config["root"] = {"path": "rootfs"}

    with lab.streams() as (streams, outcome):
        setup = launcher.compiled(config, str(tmp_path / "bundle"), lab.host)
        init = launcher.create(setup, lab.launch(**streams))
        init.start()
        said = outcome(init.process.wait_ended())
        init.close()

    assert said.out == "ok\n"
    assert (tmp_path / "bundle/rootfs/made").read_text() == "text\n"


def test_layers(lab: Lab, tmp_path: Path) -> None:
    bottom = tiny_root(tmp_path / "bottom")
    top = tmp_path / "top"
    (top / "etc").mkdir(parents=True)
    (top / "etc/os").write_text("top")
    config = spec.build(lab.request("cat", "/etc/os", rootfs=str(bottom)), "/nonexistent")
    config["annotations"]["cgmgr.overlay.lowerdir"] = f"{top}:{bottom}"
    bundle = tmp_path / "bundle"
    for name in ("upper", "work", "merged"):
        (bundle / name).mkdir(parents=True)

    with lab.streams() as (streams, outcome):
        setup = launcher.compiled(config, str(bundle), lab.host)
        init = launcher.create(setup, lab.launch(**streams))
        assert list((bundle / "upper").iterdir()) == []
        init.start()
        said = outcome(init.process.wait_ended())
        init.close()

    assert said.out == "top"


# -- names, and requests that cannot be


def test_a_name_in_use(lab: Lab) -> None:
    with lab.running("sleep", "1000") as (container, _), pytest.raises(NameTaken) as caught:
        lab.run("true", id=container.id)

    assert caught.value.errno == errno.EEXIST
    assert lab.left() == []


def test_a_request_that_cannot_be_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    bad: list[dict[str, Any]] = [
        {"rootfs": "/nonexistent"},
        {"rootfs": "/etc/passwd"},
        {"user": "nobody-of-that-name"},
        {"volumes": (parse_volume(f"{tmp_path}/missing:/x"),)},
    ]
    for fields in bad:
        with pytest.raises(RequestError):
            lab.run("true", **fields)

    assert not lab.store.exists()
    assert not lab.run_root.exists()


def test_a_full_disk(lab: Lab, tmp_path: Path) -> None:
    lab.store.mkdir()
    with tmpfs(lab.store, "size=4k", "nr_inodes=4", "mode=700"):
        with pytest.raises(KernelError) as caught:
            lab.run("true")
        assert caught.value.errno == errno.ENOSPC
        assert "df" in (caught.value.hint or "")
        assert list(lab.store.iterdir()) == []
    assert lab.left() == []


def test_a_terminal_less_container_of_every_namespace_combination(lab: Lab) -> None:
    for left_out in namespaces.DEFAULT[1:]:
        kept = tuple(name for name in namespaces.DEFAULT if name != left_out)
        assert lab.run("true", namespaces=kept).code == 0, left_out
