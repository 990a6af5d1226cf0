"""--volume and --tmpfs: docker's grammar, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cgmgr.errors import RequestError
from cgmgr.runtime.volumes import Tmpfs, Volume, parse_tmpfs, parse_volume

NO_SELINUX = "/nonexistent/enforce"


@pytest.mark.parametrize(
    ("text", "volume"),
    [
        ("/a:/b", Volume(source="/a", destination="/b")),
        ("/a:/b:rw", Volume(source="/a", destination="/b")),
        ("/a:/b:ro", Volume(source="/a", destination="/b", options=("rro",))),
        (
            "/a:/b:ro,rslave",
            Volume(source="/a", destination="/b", options=("rro", "rslave")),
        ),
        ("/a:/b:z", Volume(source="/a", destination="/b")),
        ("/a:/b:ro,Z", Volume(source="/a", destination="/b", options=("rro",))),
        ("/a//x/:/b/../c/", Volume(source="/a/x", destination="/c")),
        ("/a:/proc/cpuinfo:ro", Volume(source="/a", destination="/proc/cpuinfo", options=("rro",))),
    ],
)
def test_volumes(text: str, volume: Volume) -> None:
    assert parse_volume(text, selinux=NO_SELINUX) == volume


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("/a", "write SOURCE"),
        ("", "write SOURCE"),
        (":/b", "write SOURCE"),
        ("/a:", "write SOURCE"),
        ("data:/b", "named volumes"),
        ("./data:/b", "named volumes"),
        ("/a:b", "absolute"),
        ("/a:/", "must not be /"),
        ("/a:/..", "must not be /"),
        ("/a:/proc", "/proc"),
        ("/a:/proc/sys", "/proc"),
        ("/a:/x/../proc/self", "/proc"),
        ("/a:/dev", "--device"),
        ("/a:/dev/pts/", "one of its own"),
        ("/a:/sys", "one of its own"),
        ("/a:/dev/fd", "a symbolic link"),
        ("/a:/b:shared", "never reach the host"),
        ("/a:/b:rshared", "never reach the host"),
        ("/a:/b:nocopy", "for named volumes"),
        ("/a:/b:ro,cached", "Docker Desktop"),
        ("/a", "anonymous volumes"),
        ("/a:/b:O", "unknown option"),
        ("/a:/b:ro:rw", "unknown option"),
    ],
)
def test_refused_volumes(text: str, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        parse_volume(text, selinux=NO_SELINUX)


def test_a_relative_source_is_answered_with_the_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(RequestError) as caught:
        parse_volume("./data:/b:ro")

    assert caught.value.hint == f"-v {tmp_path}/data:/b:ro"


@pytest.mark.parametrize("word", ["z", "Z"])
def test_relabelling_is_refused_where_selinux_is(tmp_path: Path, word: str) -> None:
    enforce = tmp_path / "enforce"
    enforce.write_text("1")

    with pytest.raises(RequestError, match="relabel"):
        parse_volume(f"/a:/b:{word}", selinux=str(enforce))


DEFAULT = ("rw", "noexec", "nosuid", "nodev")


@pytest.mark.parametrize(
    ("text", "tmpfs"),
    [
        ("/tmp", Tmpfs(destination="/tmp")),
        ("/tmp:", Tmpfs(destination="/tmp")),
        (
            "/tmp:size=64m,mode=1777",
            Tmpfs(destination="/tmp", options=(*DEFAULT, "size=64m", "mode=1777")),
        ),
        ("/tmp:ro,exec", Tmpfs(destination="/tmp", options=(*DEFAULT, "ro", "exec"))),
    ],
)
def test_tmpfs(text: str, tmpfs: Tmpfs) -> None:
    assert parse_tmpfs(text) == tmpfs


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tmp", "absolute"),
        ("/", "must not be /"),
        ("/proc/x", "/proc"),
        ("/dev", "one of its own"),
        ("/tmp:tmpcopyup", "unknown option"),
        ("/tmp:size=", "unknown option"),
        ("/tmp:size", "unknown option"),
        ("/tmp:source=x", "unknown option"),
    ],
)
def test_refused_tmpfs(text: str, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        parse_tmpfs(text)
