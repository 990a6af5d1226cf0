"""Guests: real machines with systemd as PID 1, one for each layout of the hierarchies.

Law: what lies here builds, boots and watches guests; the tests that run in them lie elsewhere and
know nothing of it.
"""
