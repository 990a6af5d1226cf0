"""Tests of `cgmgr.runtime.oci` that need no kernel."""
