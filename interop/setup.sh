#!/usr/bin/env bash
# Makes the Python environment of the interoperability checks and prints the path of its interpreter, alone on stdout.
#
# It stands outside the clone, in ${AQ_INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/arrow-quant}, because torch brings 3 GB of
# libraries; the hash of requirements.txt is in its name, so clones share it and a changed pin makes a new one.
# An interrupted run leaves no `.complete` mark and is started over by the next one.
#
#   AQ_INTEROP_PYTHON   use this interpreter as it is and make nothing
#   AQ_INTEROP_CACHE    where environments are kept
#   AQ_PIP_ARGS         further arguments for pip install, for instance an index of CPU-only torch wheels
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
say() { printf 'interop setup: %s\n' "$*" >&2; }

if [[ -n "${AQ_INTEROP_PYTHON:-}" ]]; then
    "$AQ_INTEROP_PYTHON" -c 'import torch, diffusers, transformers, sdnq, safetensors' >&2
    printf '%s\n' "$AQ_INTEROP_PYTHON"
    exit 0
fi

# The pins need at least Python 3.11 (numpy); torch has no wheels for the newest one for a while.
find_python() {
    local candidate
    for candidate in python3.12 python3.11 python3.13 python3; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null &&
            "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    say 'no Python 3.11, 3.12 or 3.13 with the venv module found (Debian and Ubuntu: apt-get install python3-venv)'
    return 1
}

hash_of() { if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -c1-12; }

cache=${AQ_INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/arrow-quant}
environment=$cache/interop-$(hash_of "$here/requirements.txt")
python=$environment/bin/python
mkdir -p "$cache"

# Two runs at once must not install into one folder. Where flock is missing (macOS) that is left to the caller.
if command -v flock >/dev/null; then
    exec 9>"$environment.lock"
    flock 9
fi

if [[ -f $environment/.complete ]] && "$python" -c '' 2>/dev/null; then
    printf '%s\n' "$python"
    exit 0
fi

base=$(find_python)
say "installing into $environment with $("$base" --version); this takes some minutes the first time"
rm -rf "$environment"
"$base" -m venv "$environment" >&2
# shellcheck disable=SC2086  # AQ_PIP_ARGS is a list of words
"$python" -m pip install --disable-pip-version-check --quiet ${AQ_PIP_ARGS:-} -r "$here/requirements.txt" >&2
"$python" -c 'import torch, diffusers, transformers, sdnq, safetensors' >&2
touch "$environment/.complete"
printf '%s\n' "$python"
