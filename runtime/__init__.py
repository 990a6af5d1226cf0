"""The container runtime: a container described as an OCI ``config.json``, made out of steps.

Law: namespaces, mounts, identity and the life of a container live here. A driver arrives as an
argument: nothing here imports ``cgmgr.drivers``, ``cgmgr.exporters`` or the CLI.
"""

if __name__ != "cgmgr.runtime":
    raise ImportError(f"import cgmgr.runtime, not {__name__}")
