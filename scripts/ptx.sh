#!/usr/bin/env bash
# Kernels to PTX: scripts/ptx.sh [--check]. Fetches NVRTC and ptxas from PyPI into a cache of the user's, then runs ptx.py (see there).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The first of the 12 line: what it writes is loaded by every driver since R525.
readonly packages=(nvidia-cuda-nvrtc-cu12==12.0.140 nvidia-cuda-nvcc-cu12==12.0.140)
readonly home="${XDG_CACHE_HOME:-$HOME/.cache}/arrow-quant/ptx-12.0.140"

if [[ ! -f $home/ready ]]; then
    rm -rf "$home"
    python3 -m venv "$home"
    "$home/bin/python" -m pip install --quiet --disable-pip-version-check "${packages[@]}"
    touch "$home/ready"
fi
exec "$home/bin/python" scripts/ptx.py "$@"
