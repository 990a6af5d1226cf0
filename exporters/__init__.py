"""What other systems read: metrics out of Stats.

Law: prometheus_client is imported here and nowhere else. Nothing here opens a cgroup file, and
nothing here imports ``cgmgr.drivers``, ``cgmgr.runtime`` or the CLI.
"""

if __name__ != "cgmgr.exporters":
    raise ImportError(f"import cgmgr.exporters, not {__name__}")
