"""net_cls and net_prio: v1 only; on v2 what asks for nothing is nothing, the rest has a way out."""

from __future__ import annotations

import pytest

from cgmgr.controllers import net_cls, net_prio
from cgmgr.errors import ControllerUnavailable, RequestError
from cgmgr.resources import NetPrio, Resources

from .saying import new, seen, undone, written

MAP = "net_prio.ifpriomap"


def ask(**priorities: int) -> Resources:
    return Resources(
        net_prio=tuple(NetPrio(interface=name, priority=p) for name, p in priorities.items())
    )


def test_classid() -> None:
    request = Resources(net_cls_classid=0x10_0001)
    assert net_cls.wants(request)
    assert not net_cls.wants(Resources())
    assert net_cls.rows(Resources(), new(1)) == []
    assert written(net_cls.rows(request, new(1))) == ["1048577 > net_cls.classid"]
    zero = Resources(net_cls_classid=0)
    assert written(net_cls.rows(zero, seen(1, {}))) == ["0 > net_cls.classid"]


def test_no_classid_on_v2() -> None:
    assert net_cls.rows(Resources(net_cls_classid=0), new(2)) == []
    with pytest.raises(ControllerUnavailable, match="v2 has no net_cls") as caught:
        net_cls.rows(Resources(net_cls_classid=5), new(2))
    assert "socket cgroupv2" in (caught.value.hint or "")


def test_priorities() -> None:
    files = {MAP: "lo 0\neth0 3"}
    assert net_prio.wants(ask(lo=1))
    rows = net_prio.rows(ask(lo=1, eth0=2), seen(1, files))
    assert written(rows) == [f"eth0 2 > {MAP}", f"lo 1 > {MAP}"]
    assert [row.undo for row in rows] == ["eth0 3", "lo 0"]
    assert undone(net_prio.rows(ask(lo=1), seen(1, {MAP: ""})), {}) == {MAP: "lo 0"}
    assert [row.undo for row in net_prio.rows(ask(lo=1), new(1))] == [None]


def test_an_interface_that_is_not_there() -> None:
    with pytest.raises(RequestError, match="wlan0: the interfaces here are eth0, lo"):
        net_prio.rows(ask(wlan0=1), new(1))


def test_no_priorities_on_v2() -> None:
    assert net_prio.rows(ask(lo=0), new(2)) == []
    with pytest.raises(ControllerUnavailable, match="v2 has no net_prio") as caught:
        net_prio.rows(ask(eth0=0, lo=5), new(2))
    assert caught.value.value == "lo 5"


@pytest.mark.parametrize(("version", "count"), [(1, 1), (2, 0)])
def test_observe(version: int, count: int) -> None:
    assert len(net_cls.observe(version)) == len(net_prio.observe(version)) == count
