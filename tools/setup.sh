#!/usr/bin/env bash
# Sets up what a target of the Makefile needs, and does nothing when it is there already.
#
#   tools/setup.sh [WORD...]
#
# Always: .venv with the checkout installed in it, editable, and the pinned tools. A word (demo,
# bench, or a lane of the tests) adds the programs that this purpose needs. Python and .venv are a must, so their
# failure ends the run. A missing program is named, and what needs it says that it was left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# command (or file), package that has it, who wants it
PROGRAMS='busybox busybox-static root
crun crun bench
dbus-daemon dbus root unit
gcc gcc root bench
ip iproute2 demo root
mkfs.ext4 e2fsprogs vm
mmdebstrap mmdebstrap vm
podman podman bench
ps procps demo root
qemu-system-x86_64 qemu-system-x86 vm
runc runc bench
setpriv util-linux vm
sfdisk fdisk vm
strace strace root
/usr/include/stdio.h libc6-dev root bench
/usr/lib/python3/dist-packages/pydbus python3-pydbus root unit
/usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring vm'

apt_install() {
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        return 1
    fi
    say "installing $*"
    export DEBIAN_FRONTEND=noninteractive
    # A fresh machine has no package lists; one that has been up for long has old ones.
    [[ ${lists_are_fresh:-} ]] || apt-get -q -q update >/dev/null
    lists_are_fresh=1
    apt-get -q -q -o Dpkg::Use-Pty=0 install --no-install-recommends -y "$@" </dev/null >/dev/null
}

# missing_packages WORD...: the packages that these words want and that are not there.
missing_packages() {
    local command package wanted_by word
    while read -r command package wanted_by; do
        if [[ -e $command ]] || command -v "$command" >/dev/null; then
            continue
        fi
        for word in $wanted_by; do
            if [[ " $* " == *" $word "* ]]; then
                echo "$package"
                break
            fi
        done
    done <<<"$PROGRAMS"
}

# The first python3 on PATH that is new enough and can make a virtual environment.
find_python() {
    local candidate
    for candidate in $(type -aP python3 || true); do
        if "$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

make_venv() {
    local python stamp
    # A virtual environment does not survive a move, so the place is part of the stamp.
    stamp=$({ pwd; cat pyproject.toml requirements-dev.lock; } | sha256sum)
    if [[ -x .venv/bin/python && $(cat .venv/.stamp 2>/dev/null) == "$stamp" ]]; then
        return
    fi
    if ! python=$(find_python); then
        apt_install python3 python3-venv || die "needs python >= 3.11 with venv: install python3 and python3-venv"
        python=$(find_python) || die "python3 of this system is older than 3.11: put a newer python3 on PATH"
    fi
    if [[ $(head -n 1 .venv/bin/pip 2>/dev/null) != "#!$PWD/.venv/bin/"* ]]; then
        say "making .venv with $("$python" -V), $python"
        "$python" -m venv --clear .venv
    fi
    say "installing what requirements-dev.lock names into .venv"
    local pip=(.venv/bin/pip --disable-pip-version-check --no-input -q -q install)
    "${pip[@]}" -r requirements-dev.lock || die "pip could not install what requirements-dev.lock names"
    "${pip[@]}" --no-deps --no-build-isolation -e .
    echo "$stamp" >.venv/.stamp
}

# Two `make` in one checkout take turns.
exec 9<pyproject.toml
flock 9

make_venv
mapfile -t missing < <(missing_packages "$@")
if [[ ${#missing[@]} != 0 ]]; then
    apt_install "${missing[@]}" || say "not installed: ${missing[*]} (needs root and apt); what needs them is left out"
fi
