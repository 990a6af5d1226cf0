"""One module a controller, and the ordered table of them.

Law: a controller says WHAT a setting becomes (v1 files, v2 files, systemd properties) and parses
its statistics; it performs nothing. May import resources, stats, parse and the floor below;
never kernfs, a driver or a wing.
"""
