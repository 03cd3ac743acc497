#!/usr/bin/env bash
# The unsafe code under Miri and under AddressSanitizer: scripts/sanitize.sh [miri|address]. Needs rustup with a nightly toolchain; minutes.
#
# Those are the unsafe blocks of crates/kernels: calls of functions compiled for instructions that were detected, and shuffles of SSE between
# arrays of floats. What crates/cuda and crates/node have goes into a driver and into Node, where neither tool can follow; the other crates
# forbid it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

host=$(rustc +nightly -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/sanitize

# Undefined behaviour, at every kernel level: Miri takes the features that it is compiled with for detected ones. It is a thousand times
# slower than the machine, so these are the tests that reach each unsafe block with little arithmetic. Left out are the golden file, the
# search's and the second moments' own tests, which go through the same blocks for hours, and those that try every half and every float.
run_miri() {
    rustup component add --toolchain nightly miri rust-src
    export MIRIFLAGS=-Zmiri-disable-isolation # tests read the environment
    if [[ $host == x86_64-* ]]; then export RUSTFLAGS='-C target-feature=+avx2,+fma,+avx512f,+avx512bw,+avx512dq,+avx512vl'; fi
    miri() { cargo +nightly miri test --locked -p aq-kernels "$@"; }
    miri --lib -- tile:: pack:: lanes:: group:: outputs:: errors:: eight_bits non_finite
    miri --test packing
    miri --test levels -- every_level error_sums
    miri --test ggml -- blocks_are_decoded
    unset RUSTFLAGS
}

# Reads and writes out of bounds, in all tests of the kernels, and at the machine's own levels. Not over the readers: they are safe Rust, and
# the C below them (zstd) would have to be compiled by the same LLVM.
run_address() {
    RUSTFLAGS=-Zsanitizer=address cargo +nightly test --locked -p aq-kernels --profile ci --target "$host"
}

case ${1:-all} in
    miri) run_miri ;;
    address) run_address ;;
    all)
        run_miri
        run_address
        ;;
    *) echo "usage: ${BASH_SOURCE[0]} [miri|address]" >&2; exit 2 ;;
esac
