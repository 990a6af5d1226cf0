#!/usr/bin/env bash
# The main job, on this machine, nothing mocked: containers and groups under limits, and the truth
# about how they ended.  Takes well under a minute, and leaves nothing behind.
set -euo pipefail

bold() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || bold() { printf '\n%s\n' "$*"; }
quoted() { for word; do [[ $word =~ ^[][A-Za-z0-9_./=:-]+$ ]] && printf ' %s' "$word" || printf " '%s'" "$word"; done; }
show() { printf '$%s\n' "$(quoted "$@")"; "$@" || printf '(exit status %d)\n' $?; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

name=demo-$$
before=$(mktemp)
place=/var/lib/cgmgr/containers/$name
trap 'rm -f "$before" "$before.err"; cgmgr group rm -f "$name" >/dev/null 2>&1 || :' EXIT
field() { cgmgr group get "$name" --json | python3 -c "import json, sys; print(json.load(sys.stdin)$1)"; }
mounts() { cut -d' ' -f3- /proc/self/mountinfo | sort; }
ours() { find /sys/fs/cgroup -type d -path "*cgmgr*$name*" 2>/dev/null; }
mounts > "$before"

bold "1. A container that wants more memory than it may have"
show cgmgr run --name "$name" -m 64m --swap 0 host sh -c 'exec tail /dev/zero'

bold "2. A container has process ids, a host name and a loopback of its own"
show cgmgr run --name "$name" host ps -ef
show cgmgr run --name "$name" host sh -c 'hostname; ls /sys/class/net'

bold "3. What it writes goes into a layer of its own; the host's root stays untouched"
coproc container { cgmgr run -i --name "$name" host \
    sh -c 'echo "written by process $$" > /etc/cgmgr-demo && echo ready && read gate'; }
read -r answer <&"${container[0]}"
[ "$answer" = ready ] || fail "the container did not start"
pid=$(field '["processes"][0]')
show cat "$place/upper/etc/cgmgr-demo"
show cat "/proc/$pid/root/etc/cgmgr-demo"
show ls /etc/cgmgr-demo
echo >&"${container[1]}"
wait "$container_PID" || :
show ls "$place"

bold "4. Half a CPU, for a second of burning: about half a second, and how long it was held up"
show cgmgr run --name "$name" --cpus 0.5 --timeout 1s --result text host sh -c 'while :; do :; done'

bold "5. A group of several processes: frozen, its CPU time stands still; thawed; killed"
show cgmgr group create "$name" memory=64M pids=20 cpus=1
for _ in 1 2 3; do cgmgr group run "$name" -- sh -c 'while :; do :; done' >/dev/null 2>"$before.err" & done
used() { field '["use"]["cpu"]["usage_usec"]'; }
until [ "$(cgmgr group tree "$name" | grep -c 'while :')" -ge 3 ]; do :; done
show cgmgr group tree "$name"
show cgmgr group freeze "$name"
first=$(used)
second=$(used)
echo "CPU time while frozen: $first us, then $second us"
[ "$first" = "$second" ] || fail "a frozen group used CPU time"
show cgmgr group thaw "$name"
until [ "$(used)" != "$first" ]; do :; done
echo "CPU time runs again"
show cgmgr group kill "$name"
wait
show cgmgr group rm "$name"

bold "6. What would be written where, without writing it"
show cgmgr group create "$name" memory=64M cpus=0.5 pids=20 --dry-run

bold "7. Nothing is left"
[ -z "$(ours)" ] || fail "groups are left: $(ours)"
mounts | diff "$before" - || fail "the mount table has changed"
[ ! -e "$place" ] || fail "$place is left"
[ ! -e /etc/cgmgr-demo ] || fail "/etc/cgmgr-demo is on the host"
echo "no group, no mount, no process, no file"
