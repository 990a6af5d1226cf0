"""An imitation of the kernel's cgroups on ordinary directories; `core` is the entrance."""
