"""Tests of cgmgr.drivers: no kernel is needed for these."""
