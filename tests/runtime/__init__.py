"""Tests of cgmgr.runtime: neither root nor a new namespace is needed for these."""
