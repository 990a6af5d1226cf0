"""Launching: what is refused before anything is made."""

from pathlib import Path
from typing import Any

import pytest

from cgmgr.errors import RequestError
from cgmgr.host import Host
from cgmgr.resources import Memory, Resources
from cgmgr.runtime import launcher, spec
from cgmgr.runtime.launcher import Launch, run_container
from cgmgr.runtime.spec import ContainerRequest

LIMITS = pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"resources": Resources(memory=Memory(max_bytes=64 << 20))}, "resources"),
        ({"cgroups_path": "/cgmgr/web"}, "cgroupsPath"),
    ],
    ids=["resources", "cgroups-path"],
)


@LIMITS
def test_limits_without_a_placement_are_refused(
    tmp_path: Path, fields: dict[str, Any], key: str
) -> None:
    request = ContainerRequest(id="web", rootfs="host", argv=("true",), **fields)
    store, run_root = tmp_path / "store", tmp_path / "run"
    launch = Launch(host=Host.detect(), store=str(store), run_root=str(run_root))

    with pytest.raises(RequestError, match=rf"linux\.{key}.*no placement"):
        run_container(request, launch)

    assert not store.exists()


@LIMITS
def test_no_entrance_starts_limits_without_a_placement(
    tmp_path: Path, fields: dict[str, Any], key: str
) -> None:
    """A bundle of somebody else goes through `compiled` and `create`."""
    request = ContainerRequest(id="web", rootfs="host", argv=("true",), **fields)
    launch = Launch(host=Host.detect())
    setup = launcher.compiled(spec.build(request, "/nonexistent"), str(tmp_path), launch.host)

    with pytest.raises(RequestError, match=rf"linux\.{key}.*no placement"):
        launcher.create(setup, launch)


@pytest.mark.parametrize("empty", [{}, {"cgroupsPath": "", "resources": {}}], ids=["none", "empty"])
def test_what_is_empty_asks_for_no_placement(tmp_path: Path, empty: dict[str, Any]) -> None:
    request = ContainerRequest(id="web", rootfs="host", argv=("true",))
    document = spec.build(request, "/nonexistent")
    document["linux"] |= empty

    assert launcher.compiled(document, str(tmp_path), Host.detect()).grouped == ""
