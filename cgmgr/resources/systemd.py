"""systemd's resource properties, as D-Bus has them, both ways.

Law: pure.  The way out is `systemd_write`, the way in `systemd_read`; here is what needs both.
What systemd cannot hold is named by `unexpressed` and left to the files.  Text forms
(`MemoryMax=2G`) are in `systemd_text`.

Rounding: a quota is a whole percent of a CPU, rounded up, because systemd keeps it so on disk and a
group below must be able to have what it was promised.  `as_held` is the request so rounded.

Source: systemd src/core/dbus-cgroup.c and cgroup.c, systemd.resource-control(5).
"""

from __future__ import annotations

from . import formulas
from .merge import missing
from .systemd_read import from_properties
from .systemd_write import INFINITY, NEWEST, plain_rules, properties, without_raw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .model import Resources

__all__ = ["INFINITY", "NEWEST", "as_held", "from_properties", "properties", "unexpressed"]


def unexpressed(
    resources: Resources, *, version: int = 2, systemd: int = NEWEST
) -> tuple[str, ...]:
    """The settings that systemd cannot hold, or not exactly: what is left to write by files."""
    rows = properties(resources, version=version, systemd=systemd)
    held = from_properties((name, value) for name, _, value in rows)
    return missing(as_held(resources, version=version), held)


def as_held(resources: Resources, *, version: int = 2) -> Resources:
    """The request in systemd's spelling: rounded, raw files read, a soft limit as MemoryLow."""
    said = without_raw(resources) if version == 2 else resources
    cpu, memory = said.cpu, said.memory
    if isinstance(cpu.quota_us, int):
        period = cpu.period_us or formulas.DEFAULT_PERIOD_US
        per_sec = formulas.quota_to_per_sec_usec(cpu.quota_us, period)
        cpu = cpu.replace(quota_us=formulas.per_sec_usec_to_quota(per_sec, period))
    if cpu.weight is not None and cpu.idle is False:
        cpu = cpu.replace(idle=None)
    if version == 2:
        cpu = cpu.replace(shares=None)
        low = memory.low_bytes if memory.low_bytes is not None else memory.soft_limit_bytes
        memory = memory.replace(low_bytes=low, soft_limit_bytes=None)
    return said.replace(cpu=cpu, memory=memory, devices=plain_rules(said.devices))
