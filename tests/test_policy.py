"""Policies: found, inherited, resolved, and refused with file and key."""

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest

import cgmgr
from cgmgr import policy
from cgmgr.errors import ControllerUnavailable, HostError, RequestError
from cgmgr.policy import Policy
from cgmgr.resources import Raw, Resources
from cgmgr.resources.words import resources_of
from cgmgr.rundir import Rundir

from .fakefs import unpack
from .resources.test_devices import resolve


def write(folder: Path, **documents: str) -> list[str]:
    """Policies of these names in a folder; the folder as a search path."""
    folder.mkdir(exist_ok=True)
    for name, text in documents.items():
        (folder / f"{name}.toml").write_text(text)
    return [str(folder)]


def test_a_policy_without_anything(tmp_path: Path) -> None:
    assert policy.load("web", write(tmp_path, web="")) == Policy(
        name="web", files=(str(tmp_path / "web.toml"),)
    )


def test_everything_that_a_policy_can_say(tmp_path: Path) -> None:
    folders = write(
        tmp_path,
        web="""
            description = "front ends"

            [placement]
            parent = "/cgmgr/web"
            driver = "cgroupfs"
            controllers = ["cpu", "memory"]

            [resources]
            memory = "64M"
            swap = 0
            cpus = 0.5
            cpuset = [0, 1]
            pids = 100
            oom_group = true
            io_rbps = { "8:0" = "1M", "/dev/sda" = "1M" }
            devices = ["c 1:3 rwm", "!c 1:5 w"]
            hugetlb = ["2MB=64M"]
            rdma = { mlx4_0 = { hca_handle = 2 } }
            "memory.high" = "48M"
            unified = { "cpu.uclamp.max" = "50.00" }
        """,
    )
    found = policy.load("web", folders, resolve=resolve)

    assert (found.description, found.parent, found.driver) == (
        "front ends",
        "/cgmgr/web",
        "cgroupfs",
    )
    assert found.controllers == ("cpu", "memory")
    assert found.resources == resources_of(
        memory="64M",
        swap=0,
        cpus=0.5,
        cpuset="0-1",
        pids=100,
        oom_group=True,
        io_rbps="8:0=1M",
        devices="c 1:3 rwm, !c 1:5 w",
        hugetlb="2MB=64M",
        rdma="mlx4_0=hca_handle:2",
        **{"memory.high": "48M", "cpu.uclamp.max": "50.00"},
    )


def test_the_example_in_the_docstring_holds(tmp_path: Path) -> None:
    text = (policy.__doc__ or "").split("web.toml\n")[1].split("\nIt is used")[0]
    found = policy.load("web", write(tmp_path, web=text, base=""))

    assert found.parent == "/cgmgr/web"
    assert found.resources.unified == (Raw(file="memory.high", value="48M"),)


def test_inheritance(tmp_path: Path) -> None:
    folders = write(
        tmp_path,
        base="""
            description = "all"
            [placement]
            parent = "/cgmgr/all"
            controllers = ["cpu"]
            [resources]
            memory = "1G"
            cpu_period = "20ms"
            io_rbps = { "8:0" = "1M" }
        """,
        middle='inherits = "base"\n[resources]\nmemory = "512M"\npids = 10\n',
        top="""
            inherits = "middle"
            [placement]
            driver = "systemd"
            [resources]
            cpus = 0.5
            io_wbps = { "8:0" = "2M" }
        """,
    )
    found = policy.load("top", folders)

    assert found.name == "top"
    assert (found.parent, found.driver, found.controllers) == ("/cgmgr/all", "systemd", ("cpu",))
    assert found.description == "all"
    assert [Path(file).stem for file in found.files] == ["base", "middle", "top"]
    assert found.resources == resources_of(
        memory="512M", pids=10, cpu_period="20ms", cpus=0.5, io_rbps="8:0=1M", io_wbps="8:0=2M"
    )


def test_the_first_folder_counts(tmp_path: Path) -> None:
    own = write(tmp_path / "own", web='inherits = "base"\n')
    usual = write(tmp_path / "usual", web="[resources]\npids = 1", base="[resources]\npids = 2")

    assert policy.load("web", own + usual).resources == resources_of(pids=2)
    assert policy.load("web", usual + own).resources == resources_of(pids=1)


def test_names(tmp_path: Path) -> None:
    folders = write(tmp_path / "a", web="", base="") + write(tmp_path / "b", web="", job="")
    (tmp_path / "a" / "notes.txt").write_text("")
    (tmp_path / "a" / ".hidden.toml").write_text("")

    assert policy.names([*folders, str(tmp_path / "missing")]) == ["base", "job", "web"]


#: what is wrong, the document, the complaint, the hint
WRONG: dict[str, tuple[str, str, str | None]] = {
    "syntax": ("memory = ", "not TOML: ", None),
    "unknown-key": ("resource = {}", "resource: unknown, known are inherits", "resources"),
    "unknown-key-far-off": ("xyzzy = 1", "xyzzy: unknown", None),
    "unknown-placement": (
        '[placement]\nparnet = "/x"',
        "placement.parnet: unknown, known are parent, driver, controllers",
        "parent",
    ),
    "inherits-a-list": ('inherits = ["a"]', "inherits: write the name of a policy", None),
    "inherits-nothing": ('inherits = ""', "invalid policy name ''", None),
    "inherits-a-path": ('inherits = "../x"', "invalid policy name '../x'", None),
    "inherits-itself": ('inherits = "web"', "inherits: a circle: web -> web", None),
    "inherits-what-is-not-there": (
        'inherits = "bass"',
        "no policy 'bass' in",
        'inherits = "base"',
    ),
    "resources-a-list": ("resources = []", "resources: write a table, [resources], not []", None),
    "placement-text": ('placement = "/x"', "placement: write a table, [placement]", None),
    "parent-a-number": ("[placement]\nparent = 5", "placement.parent: write a path", None),
    "parent-with-dots": ('[placement]\nparent = "/a/../b"', "placement.parent: ", None),
    "controllers-text": (
        '[placement]\ncontrollers = "cpu"',
        "placement.controllers: write a",
        None,
    ),
    "controllers-of-nobody": (
        '[placement]\ncontrollers = ["cpu", "memroy"]',
        "placement.controllers: memroy is no controller, there are cpu, ",
        None,
    ),
    "controllers-numbers": (
        "[placement]\ncontrollers = [1]",
        "placement.controllers: write a",
        None,
    ),
    "a-word-unknown": (
        "[resources]\nmemmory = 1",
        "[resources]: unknown setting 'memmory'",
        "memory",
    ),
    "a-word-named-like-a-parameter": (
        "[resources]\nresolve = 1",
        "unknown setting 'resolve'",
        None,
    ),
    "a-value": ('[resources]\nmemory = "12Q"', "[resources]: invalid memory '12Q'", None),
    "a-zero": ("[resources]\npids = 0", "invalid pids '0': from 1 to 4194304; max lifts it", None),
    "an-empty": ('[resources]\ncpuset = ""', "invalid cpuset ''", None),
    "a-date": ("[resources]\nmemory = 2020-01-01", "invalid memory '2020-01-01'", None),
    "a-file-without-quotes": (
        "[resources]\nmemory.high = 5",
        "resources.memory: takes no table; a file of cgroup2 is a key in quotes",
        '"memory.high" = 5',
    ),
    "words-that-contradict": ("[resources]\ncpus = 1\ncpu_quota = 5000", "contradicts", None),
}


@pytest.mark.parametrize(("text", "complaint", "hint"), WRONG.values(), ids=WRONG)
def test_wrong(tmp_path: Path, text: str, complaint: str, hint: str | None) -> None:
    folders = write(tmp_path, web=text, base="")

    with pytest.raises(RequestError) as caught:
        policy.load("web", folders)

    error = caught.value
    assert complaint in str(error)
    assert error.path == str(tmp_path / "web.toml")
    assert error.operation == "load policy"
    assert error.hint == hint


def test_what_is_wrong_below_is_told_of_the_file_below(tmp_path: Path) -> None:
    folders = write(tmp_path, web='inherits = "base"', base="[resources]\npids = 0")

    with pytest.raises(RequestError) as caught:
        policy.load("web", folders)

    assert caught.value.path == str(tmp_path / "base.toml")
    assert str(caught.value).startswith(str(tmp_path / "base.toml"))


def test_a_circle_is_drawn(tmp_path: Path) -> None:
    folders = write(tmp_path, a='inherits = "b"', b='inherits = "c"', c='inherits = "a"')

    with pytest.raises(RequestError, match="a circle: a -> b -> c -> a"):
        policy.load("a", folders)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a\0", "a b", ".hidden", "x" * 300])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match="invalid policy name"):
        policy.load(name, write(tmp_path, web=""))


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        policy.load("wbe", write(tmp_path, web=""))

    assert str(caught.value) == f"no policy 'wbe' in {tmp_path}"
    assert caught.value.hint == "web"


def test_no_folder_at_all() -> None:
    with pytest.raises(RequestError, match="no policy 'web' in no folder at all"):
        policy.load("web", [])


def test_text_that_is_no_utf_8(tmp_path: Path) -> None:
    (tmp_path / "web.toml").write_bytes(b'description = "\xff"')

    with pytest.raises(RequestError, match=r"web\.toml: not TOML: .*utf-8"):
        policy.load("web", [str(tmp_path)])


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "web.toml").mkdir()

    with pytest.raises(HostError, match=r"web\.toml: is a directory") as caught:
        policy.load("web", [str(tmp_path)])

    assert caught.value.errno == errno.EISDIR


def test_a_policy_on_top_of_nothing_says_only_what_it_says(tmp_path: Path) -> None:
    found: Any = policy.load("web", write(tmp_path, web="[resources]\n"))

    assert found.resources == Resources()
    assert (found.parent, found.driver, found.controllers) == (None, None, None)


# -- from the front door


def test_a_file_is_a_policy_and_what_it_inherits_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, web='inherits = "base"\n[resources]\npids = 5', base="[resources]\ncpus = 1")

    found = cgmgr.Policy.load(f"{tmp_path}/web.toml")
    monkeypatch.chdir(tmp_path)

    assert found.resources == resources_of(pids=5, cpus=1)
    assert cgmgr.Policy.load("web.toml").resources == found.resources
    assert cgmgr.Policy.load("./web.toml").resources == found.resources


def test_a_name_is_looked_for_in_the_usual_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "own", web="[resources]\npids = 5")
    write(tmp_path / "all", web="[resources]\npids = 6", job="[resources]\npids = 7")
    folders = [str(tmp_path / "own"), str(tmp_path / "all")]
    monkeypatch.setattr(policy, "usual_folders", lambda: folders)

    assert cgmgr.Policy.load("web").resources == resources_of(pids=5)
    assert cgmgr.Policy.load("job").resources == resources_of(pids=7)


@pytest.mark.parametrize(
    ("uid", "config", "folders"),
    [
        (0, "/x", ["/etc/cgmgr/policies"]),
        (1000, "/x", ["/x/cgmgr/policies", "/etc/cgmgr/policies"]),
        (1000, "", ["/home/me/.config/cgmgr/policies", "/etc/cgmgr/policies"]),
    ],
)
def test_the_usual_folders(
    uid: int, config: str, folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setenv("XDG_CONFIG_HOME", config)
    monkeypatch.setenv("HOME", "/home/me")

    assert policy.usual_folders() == folders


@pytest.mark.parametrize(
    ("which", "complaint"),
    [
        ("./web.toml", "no policy './web.toml': there is no such file"),
        ("./web", "no policy './web': it ends not in .toml"),
        ("web", "no policy 'web' in"),
    ],
)
def test_a_policy_that_is_not_there(
    which: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(policy, "usual_folders", lambda: [str(tmp_path)])

    with pytest.raises(RequestError, match=f"^{re.escape(complaint)}"):
        cgmgr.Policy.load(which)


def test_groups_are_placed_below_the_parent() -> None:
    web = cgmgr.Policy(name="web", parent="/cgmgr/web")

    assert web.place("front") == "/cgmgr/web/front"
    assert web.place("/other") == "/other"
    assert cgmgr.Policy(name="web", parent="/").place("front") == "/front"
    assert cgmgr.Policy(name="web").place("front") == "front"


def test_a_manager_makes_groups_by_a_policy(tmp_path: Path) -> None:
    host = unpack("debian12-unified", tmp_path / "host")
    manager = cgmgr.Manager(host, driver="cgroupfs", rundir=Rundir(str(tmp_path / "run")))
    text = """
        [placement]
        parent = "/cgmgr/web"
        controllers = ["pids", "memory"]
        [resources]
        memory = "64M"
        cpu_period = "20ms"
    """
    web = cgmgr.Policy.load(f"{write(tmp_path, web=text)[0]}/web.toml")

    group = manager.create("front", policy=web, cpus=0.5, pids=5)

    assert group.name == "/cgmgr/web/front"
    assert group.resources == resources_of(memory="64M", cpu_period="20ms", cpus=0.5, pids=5)
    enabled = [value for _, _path, file, value in host.writes if file == "cgroup.subtree_control"]
    assert "+cpu +memory +pids" in enabled
    assert not any("+io" in value.split() for value in enabled[1:])
    assert any("/cgmgr/web/front" in line for line in manager.plan("back", policy=web)) is False
    assert any("/cgmgr/web/back" in line for line in manager.plan("back", policy=web))


def test_a_controller_of_a_policy_has_to_be_there(tmp_path: Path) -> None:
    host = unpack("debian12-unified", tmp_path / "host")
    manager = cgmgr.Manager(host, driver="cgroupfs", rundir=Rundir(str(tmp_path / "run")))

    with pytest.raises(ControllerUnavailable, match="the net_cls controller is not available"):
        manager.create("x", policy=cgmgr.Policy(name="web", controllers=("net_cls",)))
    assert manager.list() == []
