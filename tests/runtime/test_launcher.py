"""Launching: what is refused before anything is made."""

from pathlib import Path
from typing import Any

import pytest

from cgmgr.errors import RequestError
from cgmgr.host import Host
from cgmgr.resources import Memory, Resources
from cgmgr.runtime.launcher import Launch, run_container
from cgmgr.runtime.spec import ContainerRequest


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"resources": Resources(memory=Memory(max_bytes=64 << 20))}, "resources"),
        ({"cgroups_path": "/cgmgr/web"}, "cgroupsPath"),
    ],
    ids=["resources", "cgroups-path"],
)
def test_limits_without_a_placement_are_refused(
    tmp_path: Path, fields: dict[str, Any], key: str
) -> None:
    request = ContainerRequest(id="web", rootfs="host", argv=("true",), **fields)
    store, run_root = tmp_path / "store", tmp_path / "run"
    launch = Launch(host=Host.detect(), store=str(store), run_root=str(run_root))

    with pytest.raises(RequestError, match=rf"linux\.{key}.*no placement"):
        run_container(request, launch)

    assert not store.exists()
