#!/bin/bash
# In the guest, before the tests: what a controller needs to have something to control.
set -euo pipefail

disk() { readlink -f "/dev/disk/by-id/virtio-$1"; }

# rdma: soft RoCE over the loopback device.
modprobe rdma_rxe
modprobe ib_uverbs
rdma link add rxe0 type rxe netdev lo

# hugetlb: pages in reserve.
echo 16 >/proc/sys/vm/nr_hugepages

# io: one disk with partitions and no scheduler (throttles hold there), one whose scheduler divides
# by weight.
udevadm wait --timeout=30 /dev/disk/by-id/virtio-{second,weighted}
echo none >"/sys/block/$(basename "$(disk second)")/queue/scheduler"
modprobe bfq
echo bfq >"/sys/block/$(basename "$(disk weighted)")/queue/scheduler"

# The user without root: its manager and its bus come up with the boot, and tests rely on both.
for _ in {1..300}; do
    [[ -S /run/user/1000/bus && $(systemctl is-active user@1000.service) == active ]] && exit 0
    sleep 0.1
done
echo "the user manager of user 1000 did not come up" >&2
systemctl status user@1000.service >&2
exit 1
