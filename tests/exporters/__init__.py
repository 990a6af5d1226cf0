"""Tests of cgmgr.exporters: statistics in, text out."""
