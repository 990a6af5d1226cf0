"""Names of kernel settings, as people write them."""

from __future__ import annotations

import pytest

from cgmgr.errors import RequestError
from cgmgr.resources.document import Node
from cgmgr.runtime import sysctl


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
    ],
)
def test_the_file_of_a_setting(name: str, path: str) -> None:
    assert sysctl.path_of(name) == path


@pytest.mark.parametrize(
    "name",
    [
        "vm.swappiness",
        "kernel.core_pattern",
        "kernel.shmmax.x",
        "net/../kernel/core_pattern",
        "net./../x",
        "net..x",
        "net.",
        "",
        "/net/x",
        "kernel.hostnamex",
    ],
)
def test_what_is_the_whole_machines_is_refused(name: str) -> None:
    node = Node({"sysctl": {name: "1"}}, "linux")
    with pytest.raises(RequestError, match="no setting of a namespace"):
        list(sysctl.steps(node, set(sysctl.NAMESPACES.values())))


def test_of_the_hosts_namespaces_nothing_is_set() -> None:
    node = Node({"sysctl": {"net.core.somaxconn": "1"}}, "linux")
    with pytest.raises(RequestError, match="it needs a network namespace of its own"):
        list(sysctl.steps(node, {"ipc", "uts"}))
    (step,) = sysctl.steps(node, {"network"})
    assert step.describe() == "sysctl -w net.core.somaxconn=1"
