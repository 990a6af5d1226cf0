"""From a request to config.json: the secure defaults, and what is refused at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cgmgr.errors import RequestError
from cgmgr.resources import Memory, Resources
from cgmgr.runtime import capabilities, spec
from cgmgr.runtime.spec import ContainerRequest, Ulimit
from cgmgr.runtime.volumes import Tmpfs, Volume

STORE = "/var/lib/cgmgr/containers"
CAPS = sorted(f"CAP_{name}" for name in capabilities.DEFAULT)


@pytest.fixture
def root(tmp_path: Path) -> str:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:\nalice:x:1000:100::/home/alice:\n")
    (tmp_path / "etc/group").write_text("adm:x:4:alice\n")
    return str(tmp_path)


def request(root: str, **fields: Any) -> ContainerRequest:
    plain: dict[str, Any] = {"id": "web", "rootfs": root, "argv": ("true",)}
    return ContainerRequest(**plain | fields)


def build(root: str, **fields: Any) -> dict[str, Any]:
    return spec.build(request(root, **fields), STORE)


def mount(config: dict[str, Any], destination: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [m for m in config["mounts"] if m["destination"] == destination]
    return found[0]


def test_the_secure_defaults(root: str) -> None:
    config = build(root)

    process, linux = config["process"], config["linux"]
    assert process["noNewPrivileges"] is True
    assert process["terminal"] is False
    assert process["user"] == {"uid": 0, "gid": 0, "additionalGids": [], "umask": 0o022}
    assert process["cwd"] == "/"
    for held in ("bounding", "effective", "permitted"):
        assert sorted(process["capabilities"][held]) == CAPS
    for empty in ("inheritable", "ambient"):
        assert process["capabilities"][empty] == []
    assert [n["type"] for n in linux["namespaces"]] == [
        "mount",
        "uts",
        "pid",
        "network",
        "ipc",
        "cgroup",
    ]
    assert set(linux["maskedPaths"]) >= {"/proc/kcore", "/proc/keys", "/sys/firmware"}
    assert set(linux["readonlyPaths"]) >= {"/proc/sys", "/proc/sysrq-trigger"}
    assert "ro" in mount(config, "/sys")["options"]
    assert "ro" in mount(config, "/sys/fs/cgroup")["options"]
    assert config["ociVersion"] == "1.2.0"


def test_it_is_json(root: str) -> None:
    config = build(root)

    assert json.loads(json.dumps(config)) == config


def test_nothing_of_the_environment_is_inherited(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")

    assert build(root)["process"]["env"] == [f"PATH={spec.PATH}", "HOSTNAME=web", "HOME=/root"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"terminal": True}, ["PATH", "HOSTNAME", "HOME", "TERM"]),
        ({"env": ("A=1=2", "HOME=/x")}, ["PATH", "HOSTNAME", "HOME", "A"]),
        ({"namespaces": ("mount",)}, ["PATH", "HOME"]),
    ],
    ids=["terminal", "asked", "hosts-name"],
)
def test_environment(root: str, fields: dict[str, Any], expected: list[str]) -> None:
    env = build(root, **fields)["process"]["env"]

    assert [pair.partition("=")[0] for pair in env] == expected
    assert ("A=1=2" in env) is ("A" in expected)
    assert ("HOME=/x" in env) is ("A" in expected)


def test_a_user_without_rights(root: str) -> None:
    process = build(root, user="alice")["process"]

    assert process["user"] == {"uid": 1000, "gid": 100, "additionalGids": [4], "umask": 0o022}
    assert sorted(process["capabilities"]["bounding"]) == CAPS
    assert process["capabilities"]["effective"] == []
    assert process["capabilities"]["permitted"] == []
    assert "HOME=/home/alice" in process["env"]


@pytest.mark.parametrize(("soft", "hard"), [(20, 10), (-1, 10)])
def test_a_soft_limit_above_its_hard_one_is_refused(soft: int, hard: int) -> None:
    with pytest.raises(RequestError, match=f"'nofile={soft}:{hard}': the soft limit is above"):
        Ulimit(name="nofile", soft=soft, hard=hard)
    Ulimit(name="nofile", soft=hard, hard=hard)
    Ulimit(name="nofile", soft=soft, hard=-1)


def test_an_unknown_limit_is_refused() -> None:
    with pytest.raises(RequestError, match="unknown limit 'nofiles'"):
        Ulimit(name="nofiles", soft=1, hard=1)


@pytest.mark.parametrize(
    ("value", "fits"), [(-1001, False), (-1000, True), (1000, True), (1001, False)]
)
def test_an_oom_score_has_a_range(root: str, value: int, fits: bool) -> None:
    if fits:
        assert build(root, oom_score_adj=value)["process"]["oomScoreAdj"] == value
        return
    with pytest.raises(RequestError, match=r"--oom-score-adj.*-1000 to 1000"):
        request(root, oom_score_adj=value)


@pytest.mark.parametrize(
    ("name", "hostname"),
    [
        ("web", "web"),
        ("a" * 64, "a" * 12),
        ("my_web.1", "my-web.1"),
        ("web-12345678-", "web-12345678"),
    ],
)
def test_the_host_name_is_the_name(root: str, name: str, hostname: str) -> None:
    assert build(root, id=name)["hostname"] == hostname
    assert build(root, id=name, hostname="other")["hostname"] == "other"


def test_the_hosts_root(tmp_path: Path) -> None:
    config = build(spec.HOST)

    assert config["annotations"] == {
        "cgmgr.overlay.lowerdir": "/",
        "cgmgr.overlay.volatile": "true",
    }
    assert mount(config, "/run")["type"] == "tmpfs"
    assert STORE in config["linux"]["maskedPaths"]


@pytest.mark.parametrize(
    ("root", "hidden"),
    [
        ("", "/top/store"),
        ("top", "/store"),
        ("link", "/store"),
        ("top/store", "/"),
        ("top/sto", None),
        ("other", None),
    ],
)
def test_the_store_is_hidden_wherever_it_is_seen(
    tmp_path: Path, root: str, hidden: str | None
) -> None:
    for name in ("top/store", "top/sto", "other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to("top")
    asked = request(str(tmp_path / root))

    masked = spec.build(asked, str(tmp_path / "top/store"))["linux"]["maskedPaths"]

    assert [path for path in masked if path not in spec.MASKED] == ([hidden] if hidden else [])


def test_another_root(root: str) -> None:
    config = build(root)

    assert config["annotations"]["cgmgr.overlay.lowerdir"] == root
    assert STORE not in config["linux"]["maskedPaths"]
    assert "/run" not in [m["destination"] for m in config["mounts"]]


def test_mounts_are_ordered_by_depth(root: str) -> None:
    config = build(
        root,
        volumes=(
            Volume(source="/a", destination="/data/deep/er"),
            Volume(source="/a", destination="/data", options=("rro",)),
        ),
        tmpfs=(Tmpfs(destination="/data/deep"),),
    )

    places = [m["destination"] for m in config["mounts"]]
    assert places.index("/data") < places.index("/data/deep") < places.index("/data/deep/er")
    assert places.index("/dev") < places.index("/dev/shm")
    assert mount(config, "/data") == {
        "destination": "/data",
        "type": "bind",
        "source": "/a",
        "options": ["rbind", "rro"],
    }


def test_an_asked_mount_replaces_a_default_one(root: str) -> None:
    config = build(root, tmpfs=(Tmpfs(destination="/dev/shm", options=("size=1m",)),))

    assert mount(config, "/dev/shm")["options"] == ["size=1m"]


@pytest.mark.parametrize("writable", [False, True])
def test_groups_can_be_changed_where_that_is_asked_for(root: str, writable: bool) -> None:
    options = mount(build(root, writable_cgroups=writable), "/sys/fs/cgroup")["options"]

    assert ("ro" not in options) is writable


def test_limits_and_group(root: str) -> None:
    config = build(
        root,
        cgroups_path="/cgmgr/web",
        resources=Resources(memory=Memory(max_bytes=64 << 20)),
        ulimits=(Ulimit(name="nofile", soft=100, hard=-1),),
        oom_score_adj=500,
        shm_bytes=1 << 20,
        console_size=(24, 80),
        terminal=True,
    )

    assert config["linux"]["cgroupsPath"] == "/cgmgr/web"
    assert config["linux"]["resources"]["memory"]["limit"] == 64 << 20
    assert config["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": (1 << 64) - 1}
    ]
    assert config["process"]["oomScoreAdj"] == 500
    assert config["process"]["consoleSize"] == {"height": 24, "width": 80}
    assert "size=1048576" in mount(config, "/dev/shm")["options"]


BAD: list[tuple[str, dict[str, Any]]] = [
    ("slash", {"id": "a/b"}),
    ("dots", {"id": ".."}),
    ("nul", {"id": "a\0b"}),
    ("empty", {"id": ""}),
    ("newline", {"id": "web\n"}),
    ("long", {"id": "a" * 300}),
    ("dash-first", {"id": "-rf"}),
    ("no-command", {"argv": ()}),
    ("empty-command", {"argv": ("",)}),
    ("nul-in-argument", {"argv": ("a", "b\0")}),
    ("env-without-value", {"env": ("A",)}),
    ("env-without-name", {"env": ("=1",)}),
    ("relative-directory", {"cwd": "tmp"}),
    ("hostname-with-a-blank", {"hostname": "a b"}),
    ("hostname-with-a-newline", {"hostname": "a\n"}),
    ("long-hostname", {"hostname": "a" * 65}),
    ("capability", {"capabilities": ("ROOT",)}),
    ("namespace", {"namespaces": ("mount", "net")}),
    ("no-mount-namespace", {"namespaces": ("pid",)}),
    ("negative-shm", {"shm_bytes": -1}),
    ("all-groups", {"writable_cgroups": True, "namespaces": ("mount", "pid")}),
    (
        "two-in-one-place",
        {
            "volumes": (Volume(source="/a", destination="/x"),),
            "tmpfs": (Tmpfs(destination="/x/"),),
        },
    ),
]


@pytest.mark.parametrize("fields", [b for _, b in BAD], ids=[a for a, _ in BAD])
def test_bad_requests(root: str, fields: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        request(root, **fields)


@pytest.mark.parametrize(
    ("rootfs", "reason"),
    [("missing", "no such directory"), ("file", "no directory"), ("gone", "no directory")],
)
def test_bad_roots(tmp_path: Path, rootfs: str, reason: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "gone").symlink_to("nowhere")

    with pytest.raises(RequestError, match=reason):
        build(str(tmp_path / rootfs))


def test_an_empty_root_is_not_the_present_directory() -> None:
    with pytest.raises(RequestError, match="--rootfs: it is empty"):
        build("")


@pytest.mark.parametrize("user", ["bob", "alice:nobody", "-1"])
def test_bad_users(root: str, user: str) -> None:
    with pytest.raises(RequestError):
        build(root, user=user)


@pytest.mark.parametrize("name", ["tasks", "memory.max", "cgroup.x", "a b", "-x", ".x", "a/b", ""])
def test_what_no_group_may_be_called_no_container_is(name: str) -> None:
    with pytest.raises(RequestError, match=r"--name"):
        spec.check_id(name)


def test_names_for_those_without() -> None:
    first, second = spec.new_id(), spec.new_id()

    assert first != second
    assert spec.check_id(first) == first
    assert len(first) == 12
