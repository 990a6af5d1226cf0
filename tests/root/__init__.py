"""Tests on the kernel that runs here, as root, in cgroups of their own."""
