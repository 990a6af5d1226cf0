"""``cgmgr-oci``: a container runtime with runc's command line, for podman, containerd and others.

Law: words in, exit status out; like `cgmgr.cli`, this package prints and exits, and everything it
does to a machine is done by the modules above it.  It starts with the standard library alone.
"""
