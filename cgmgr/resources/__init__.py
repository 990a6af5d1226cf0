"""Resources: what is asked for, and its conversions.

Law: pure.  No module here opens a file or knows a host.  `model` holds the records, `merge` puts
one request on another, `formulas` is the arithmetic between vocabularies; `docker`, `oci`,
`systemd`, `files` and `words` are one vocabulary each, both ways, imported by whoever speaks them.
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
