"""Tests of `cgmgr.resources`: a module a vocabulary, and the requests that they are tried with."""
