"""The ways to make the kernel hold a group: cgroupfs, systemd, dryrun.

Law: a driver turns a request into steps and executes them. May import ``cgmgr.driver`` and
whatever lies below it; never the runtime, the exporters or the CLI. ``bus`` is the only importer
of a D-Bus library.
"""

if __name__ != "cgmgr.drivers":
    raise ImportError(f"import cgmgr.drivers, not {__name__}")
