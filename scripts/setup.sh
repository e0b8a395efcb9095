#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the Python environment that the Makefile runs in; returns at once when it is up to date.
#
# usage: setup.sh PYTHON VENV
#   PYTHON  interpreter to build on: a name on PATH or a path, Python 3.10 to 3.12
#   VENV    folder of the environment
#
# With ROS sourced (ROS_DISTRO is set) the environment sees ROS's own packages; without, ROS and
# colcon come from PyPI. System libraries come from apt, only those that are missing.
set -eu
cd "$(dirname "$0")/.."
python=$1
venv=$2

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

command -v "$python" >/dev/null || fail "no $python here; choose one with make PYTHON=..."
version=$("$python" -c 'import platform; print(platform.python_version())')
case $version in
    3.10.* | 3.11.* | 3.12.*) ;;
    *) fail "$python is Python $version, tested are 3.10 to 3.12; choose one with make PYTHON=..." ;;
esac

# The environment is good while everything that decides its content is as it was.
key=$({
    cat constraints.txt setup.py scripts/setup.sh
    "$python" -VV
    printf '%s\n' "$PWD" "${ROS_DISTRO-}"
} | sha256sum)
stamp=$venv/setup.stamp
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$key" ]; then
    exit 0
fi

# Debian packages without which venv or Open3D does not start.
missing=$("$python" - <<'EOF'
import ctypes
import importlib.util
import sys

libraries = {
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libgomp.so.1": "libgomp1",
    "libX11.so.6": "libx11-6",
}
missing = []
if importlib.util.find_spec("ensurepip") is None:
    missing.append("python%d.%d-venv" % sys.version_info[:2])
for library, package in libraries.items():
    try:
        ctypes.CDLL(library)
    except OSError:
        missing.append(package)
print(*missing)
EOF
)
if [ -n "$missing" ]; then
    command -v apt-get >/dev/null || fail "install what Debian calls: $missing"
    install="apt-get install -qq -y --no-install-recommends $missing"
    if [ "$(id -u)" = 0 ]; then
        sudo=
    elif sudo -n true 2>/dev/null; then
        sudo="sudo -n"
    else
        fail "system packages are missing; type: sudo apt-get update && sudo $install"
    fi
    echo "setup: installing $missing with apt"
    $sudo apt-get update -qq
    # shellcheck disable=SC2086 # the words of both variables are arguments
    $sudo env DEBIAN_FRONTEND=noninteractive $install
fi

extras=perception,openvino,fusion,test,dev
if [ -n "${ROS_DISTRO-}" ]; then
    system=true
    options=--system-site-packages
else
    system=false
    options=
    extras=$extras,ros,colcon
fi
# One environment cannot change its interpreter, nor whether it sees the system's packages.
config=$venv/pyvenv.cfg
if [ -f "$config" ] && ! {
    grep -qx "version = $version" "$config" &&
        grep -qx "include-system-site-packages = $system" "$config"
}; then
    options="--clear $options"
fi
echo "setup: Python $version, extras $extras, into $venv (some minutes the first time)"
# shellcheck disable=SC2086 # each word is an option
"$python" -m venv $options "$venv"

quiet=
[ -t 1 ] || quiet=--quiet
pip_install() {
    "$venv/bin/python" -m pip install $quiet --disable-pip-version-check \
        --constraint constraints.txt "$@"
}
pip_install --upgrade pip # distributions ship old ones, which differ
pip_install --editable ".[$extras]"

# Torch only where pip would take a build for CPUs, or has one already: the build with CUDA is
# gigabytes, and whoever has a GPU may want another. Nothing but the networks' tests needs it.
if plan=$(pip_install --quiet --dry-run --report - torch 2>/dev/null) &&
    ! printf '%s' "$plan" | grep -q '"nvidia-'; then
    pip_install --editable ".[torch]" || echo "setup: torch did not install; going on without"
else
    echo "setup: no CPU build of torch for Python $version here, the networks' tests will be skipped;" \
        "for the build with CUDA type: $venv/bin/python -m pip install -c constraints.txt -e '.[torch]'"
fi
echo "$key" >"$stamp"
