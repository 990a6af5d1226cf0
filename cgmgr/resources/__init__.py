"""Resources: what is asked for, and its conversions.

Law: pure.  No module here opens a file or knows a host.  `model` holds the records; `formulas` the
arithmetic between vocabularies; `docker`, `oci`, `systemd` and `words` one vocabulary each, both ways.
"""

from .model import (
    Cpu,
    Cpuset,
    DeviceRule,
    HugetlbLimit,
    Io,
    IoDevice,
    Memory,
    MiscLimit,
    NetPrio,
    Pids,
    Raw,
    RdmaLimit,
    Resources,
)

__all__ = [
    "Cpu",
    "Cpuset",
    "DeviceRule",
    "HugetlbLimit",
    "Io",
    "IoDevice",
    "Memory",
    "MiscLimit",
    "NetPrio",
    "Pids",
    "Raw",
    "RdmaLimit",
    "Resources",
]
