"""Tests of the controllers: tables of requests and the writes that they become."""
