"""The ways to make the kernel hold a group: cgroupfs, systemd, dryrun.

Law: a driver turns a request into steps. May import ``cgmgr.driver`` and whatever lies below it;
never the runtime, the exporters or the CLI.

``cgroupfs``    what it looks at (``look``), its steps (``steps``), device filters
                (``device_filter``, ``device_program``, ``bpf``), raw files (``raw``), what can
                be held (``best_effort``)
``systemd``     names (``units``), what it looks at (``systemd_look``), what is told
                (``systemd_sent``, ``systemd_any``), its steps (``systemd_steps``), the calls
                (``systemd1``)
``bus``         D-Bus with deadlines (``bus_pool``), found by ``bus_socket``; its adapters
                ``bus_jeepney`` and ``bus_pydbus`` are the only importers of a D-Bus library
``dryrun``      whatever driver the host has, which changes nothing
"""

if __name__ != "cgmgr.drivers":
    raise ImportError(f"import cgmgr.drivers, not {__name__}")
