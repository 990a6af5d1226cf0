"""Verdicts without kills: what is concluded from what the kernel would say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgmgr.errors import GroupGone
from cgmgr.host import Host
from cgmgr.kernfs import Directory, Tree
from cgmgr.oom import ANCESTOR, BELOW, HOST, OWN, UNKNOWN, Level, Oom, judge
from cgmgr.oom_watch import Watch

from .fakefs import FakeHost, unpack


def line(*hits: int | None, own: int = 1) -> list[Level]:
    """Levels from the root down, the last `own` of them the group's own."""
    paths = ["/", "/a", "/a/b", "/a/b/c"][: len(hits)]
    first = len(hits) - own
    return [
        Level(path=path, hits=count, own=index >= first)
        for index, (path, count) in enumerate(zip(paths, hits, strict=True))
    ]


@pytest.mark.parametrize(
    ("kills", "levels", "below", "rooted", "verdict"),
    [
        pytest.param(0, line(0, 0, 3), 0, True, None, id="limit hit, nobody killed here"),
        pytest.param(-1, line(0, 0, 0), 0, True, None, id="counters went backwards"),
        pytest.param(
            1, line(0, 0, 2), 0, True, Oom(kills=1, whose=OWN, limit_at="/a/b"), id="own"
        ),
        pytest.param(
            2, line(0, 1, 0), 0, True, Oom(kills=2, whose=ANCESTOR, limit_at="/a"), id="above"
        ),
        pytest.param(
            2,
            line(0, 1, 1),
            0,
            True,
            Oom(kills=2, whose=OWN, limit_at="/a/b"),
            id="both, own is sure",
        ),
        pytest.param(
            1, line(0, 1, 1, 0), 0, True, Oom(kills=1, whose=ANCESTOR), id="two above, which?"
        ),
        pytest.param(
            1,
            line(0, 0, 1, 0, own=2),
            0,
            True,
            Oom(kills=1, whose=OWN, limit_at="/a/b"),
            id="the scope of a leaf",
        ),
        pytest.param(1, line(0, 0, 0), 1, True, Oom(kills=1, whose=BELOW), id="below"),
        pytest.param(1, line(0, 0, 0), 0, True, Oom(kills=1, whose=HOST), id="the host"),
        pytest.param(
            1, line(0, 0, 0), 0, False, Oom(kills=1, whose=UNKNOWN), id="not seen to the root"
        ),
        pytest.param(
            1, line(None, 0, 0), 0, True, Oom(kills=1, whose=UNKNOWN), id="one level is mute"
        ),
        pytest.param(
            1, line(0, 0, 0), None, True, Oom(kills=1, whose=UNKNOWN), id="below is not seen"
        ),
        pytest.param(
            1,
            line(None, 0, 1),
            None,
            False,
            Oom(kills=1, whose=OWN, limit_at="/a/b"),
            id="own, whatever else is not known",
        ),
    ],
)  # fmt: skip
def test_verdicts(
    kills: int, levels: list[Level], below: int | None, rooted: bool, verdict: Oom | None
) -> None:
    assert judge(kills, levels, below=below, rooted=rooted) == verdict


def test_the_one_group_below_is_named() -> None:
    found = judge(1, line(0, 0, 0), below=1, below_at="/a/b/c", rooted=True)
    assert found == Oom(kills=1, whose=BELOW, limit_at="/a/b/c")


@given(
    kills=st.integers(-1, 3),
    hits=st.lists(st.none() | st.integers(0, 2), min_size=1, max_size=4),
    below=st.none() | st.integers(0, 2),
    rooted=st.booleans(),
)
def test_a_holder_is_named_only_if_its_limit_was_hit(
    kills: int, hits: list[int | None], below: int | None, rooted: bool
) -> None:
    levels = line(*hits)
    found = judge(kills, levels, below=below, rooted=rooted)
    assert (found is None) is (kills <= 0)
    if found is not None and found.limit_at is not None:
        assert next(level for level in levels if level.path == found.limit_at).hits
    if found is not None and found.whose == HOST:
        assert rooted
        assert not any(hits)
        assert None not in hits


# --- on trees of other hosts


class Fake:
    """A group /cgmgr/x on a recorded host, whose counters a test may raise."""

    def __init__(self, host: FakeHost, *, enabled: bool = True) -> None:
        self.name = "/cgmgr/x"
        self.host = host
        hierarchy = host.need("memory")
        self.tree: Tree = host.tree(hierarchy)
        for parent, group in (("/", "/cgmgr"), ("/cgmgr", "/cgmgr/x")):
            if enabled and hierarchy.version == 2:
                with self.tree.open(parent) as directory:
                    directory.write("cgroup.subtree_control", "+memory")
            self.tree.mkdir(group)
        self.paths = {hierarchy.key: "/cgmgr/x"}

    def path(self, group: str, file: str) -> Path:
        return Path(self.tree.absolute(group)) / file

    def set(self, group: str, file: str, **counts: int) -> None:
        text = "".join(f"{key} {value}\n" for key, value in counts.items())
        self.path(group, file).write_text(text)

    def hit(self, group: str, *, oom: int, kills: int = 0, seen: int | None = None) -> None:
        """cgroup2: its own limit was hit so often, and in it and below `seen` times."""
        self.set(group, "memory.events.local", low=0, high=0, max=0, oom=oom, oom_kill=kills)
        all_hits = oom if seen is None else seen
        self.set(group, "memory.events", low=0, high=0, max=0, oom=all_hits, oom_kill=kills)


@pytest.fixture
def unified(tmp_path: Path) -> Fake:
    return Fake(unpack("debian12-unified", tmp_path))


def test_v2_own_limit(unified: Fake) -> None:
    unified.path("/cgmgr/x", "memory.max").write_text("67108864\n")
    unified.hit("/cgmgr/x", oom=3, kills=3)
    with Watch(unified) as watch:
        assert watch.knows
        assert watch.verdict() is None, "what was before does not count"
        unified.hit("/cgmgr/x", oom=4, kills=5)
        assert watch.verdict() == Oom(kills=2, whose=OWN, limit_at="/cgmgr/x", limit_bytes=64 << 20)


def test_v2_limit_above(unified: Fake) -> None:
    unified.path("/cgmgr", "memory.max").write_text("4096\n")
    with Watch(unified) as watch:
        unified.hit("/cgmgr", oom=1, kills=0, seen=1)
        unified.hit("/cgmgr/x", oom=0, kills=1)
        assert watch.verdict() == Oom(kills=1, whose=ANCESTOR, limit_at="/cgmgr", limit_bytes=4096)


def test_v2_limit_above_that_is_gone_since(unified: Fake) -> None:
    with Watch(unified) as watch:
        unified.hit("/cgmgr", oom=1)
        unified.hit("/cgmgr/x", oom=0, kills=1)
        assert watch.verdict() == Oom(kills=1, whose=ANCESTOR, limit_at="/cgmgr")


def test_v2_limit_below(unified: Fake) -> None:
    with Watch(unified) as watch:
        unified.hit("/cgmgr/x", oom=0, kills=1, seen=1)
        assert watch.verdict() == Oom(kills=1, whose=BELOW)


def test_v2_limit_below_is_named_where_it_was_one(unified: Fake) -> None:
    """Also one that was made meanwhile: its counters began with it."""
    with Watch(unified) as watch:
        for name in ("one", "other"):
            unified.tree.mkdir(f"/cgmgr/x/{name}")
            unified.hit(f"/cgmgr/x/{name}", oom=0)
        unified.hit("/cgmgr/x/one", oom=1, kills=1)
        unified.path("/cgmgr/x/one", "memory.max").write_text("4096\n")
        unified.hit("/cgmgr/x", oom=0, kills=1, seen=1)
        assert watch.verdict() == Oom(
            kills=1, whose=BELOW, limit_at="/cgmgr/x/one", limit_bytes=4096
        )
        unified.hit("/cgmgr/x/other", oom=1, kills=1)
        unified.hit("/cgmgr/x", oom=0, kills=2, seen=2)
        assert watch.verdict() == Oom(kills=2, whose=BELOW)


def test_v2_the_host_ran_out(unified: Fake) -> None:
    with Watch(unified) as watch:
        unified.hit("/cgmgr/x", oom=0, kills=1)
        assert watch.verdict() == Oom(kills=1, whose=HOST)


def test_v2_inside_a_namespace_the_host_is_not_known(unified: Fake) -> None:
    """What is mounted there has the files of a group that is no root."""
    unified.path("/", "cgroup.type").write_text("domain\n")
    unified.hit("/", oom=0)
    with Watch(unified) as watch:
        unified.hit("/cgmgr/x", oom=0, kills=1)
        assert watch.verdict() == Oom(kills=1, whose=UNKNOWN)
        unified.hit("/", oom=1)
        assert watch.verdict() == Oom(kills=1, whose=ANCESTOR, limit_at="/")


def test_v2_before_local_events(unified: Fake) -> None:
    """Linux 5.1 and older: the kill is known, whose limit it was is not."""
    for group in ("/cgmgr", "/cgmgr/x"):
        unified.path(group, "memory.events.local").unlink()
    with Watch(unified) as watch:
        unified.set("/cgmgr/x", "memory.events", oom=1, oom_kill=1)
        assert watch.verdict() == Oom(kills=1, whose=UNKNOWN)


def test_v2_where_memory_is_not_enabled(tmp_path: Path) -> None:
    with Watch(Fake(unpack("debian12-unified", tmp_path), enabled=False)) as watch:
        assert not watch.knows
        assert watch.verdict() is None


def test_without_a_memory_controller_nothing_is_known(tmp_path: Path) -> None:
    class Nowhere:
        def __init__(self) -> None:
            self.name = "/nowhere"
            self.host = Host(str(tmp_path), ())
            self.paths: dict[str, str] = {}

    with Watch(Nowhere()) as watch:
        assert not watch.knows
        assert watch.verdict() is None


def test_a_group_that_vanished(unified: Fake) -> None:
    with Watch(unified) as watch:
        unified.tree.rmdir("/cgmgr/x")
        with pytest.raises(GroupGone):
            watch.verdict()


@pytest.mark.parametrize("recording", ["debian12-legacy", "debian12-hybrid"])
def test_v1_the_host_ran_out_if_its_root_is_seen(recording: str, tmp_path: Path) -> None:
    fake = Fake(unpack(recording, tmp_path))
    fake.set("/cgmgr/x", "memory.oom_control", oom_kill_disable=0, under_oom=0, oom_kill=2)
    with Watch(fake) as watch:
        fake.set("/cgmgr/x", "memory.oom_control", oom_kill_disable=0, under_oom=0, oom_kill=3)
        assert watch.verdict() == Oom(kills=1, whose=HOST)
        fake.path("/", "release_agent").unlink()
        assert watch.verdict() == Oom(kills=1, whose=UNKNOWN)


@pytest.mark.parametrize("recording", ["debian12-legacy", "debian12-hybrid"])
def test_v1_without_listeners_only_the_kill_is_known(
    recording: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notifications are refused: the limit's holder is unknown, and not taken for the host."""
    fake = Fake(unpack(recording, tmp_path))
    real = Directory.write

    def write(self: Directory, file: str, value: str) -> None:
        if file == "cgroup.event_control":
            raise GroupGone("refused")
        real(self, file, value)

    monkeypatch.setattr(Directory, "write", write)
    fake.set("/cgmgr/x", "memory.oom_control", oom_kill_disable=0, under_oom=0, oom_kill=2)
    with Watch(fake) as watch:
        assert watch.verdict() is None
        fake.set("/cgmgr/x", "memory.oom_control", oom_kill_disable=0, under_oom=0, oom_kill=3)
        assert watch.verdict() == Oom(kills=1, whose=UNKNOWN)
