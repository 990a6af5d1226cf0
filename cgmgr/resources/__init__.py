"""What a workload may use, per controller, and every other spelling of it.

Law: the request and its conversions live here (docker flags, systemd properties, OCI
``linux.resources``, v1 and v2 files). Pure: nothing here opens a file or knows a host.
Imports errors, units and record only.
"""
