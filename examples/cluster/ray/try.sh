#!/usr/bin/env bash
# Runs the recipe for real, on a Ray cluster of this machine that it starts and ends: examples/cluster/ray/try.sh
#
# Three shares of examples/digits-dit: the second one is killed in its work and goes on where it stopped. Of the third one Ray's worker is
# killed: Ray ends the command with it, or the next attempt waits for that. The joined model must be that of a single run, byte by byte. Exit
# status 0 when all of that was so.
#
# Needs the clone built and Python 3.10 or newer with venv. Ray is installed once, outside the clone, in
# ${AQ_CLUSTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/arrow-quant}.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
say() { printf 'try: %s\n' "$*"; }
fail() {
    say "FAILED: $*"
    exit 1
}
[[ -f $root/dist/cli.js ]] || fail 'the clone is not built: npm ci && npm run build'

# Named after what is installed, so that a changed pin makes a new one. An interrupted installation has no `.complete` and is begun anew.
cache=${AQ_CLUSTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/arrow-quant}
environment=$cache/ray-$(cksum <"$here/requirements.txt" | cut -d" " -f1)
python=$environment/bin/python
if [[ ! -f $environment/.complete ]]; then
    say "installing $(<"$here/requirements.txt")"
    rm -rf "$environment"
    mkdir -p "$cache"
    python3 -m venv "$environment"
    "$python" -m pip install --disable-pip-version-check --quiet -r "$here/requirements.txt"
    touch "$environment/.complete"
fi

# In a cluster of somebody else this would lead there.
while read -r name; do unset "$name"; done < <(compgen -e | grep -E '^(RAY_ADDRESS|ARROW_QUANT_.*)$' || true)

work=$(mktemp -d)
data="$work/a folder"
mkdir "$data"
finish() {
    local code=$?
    trap - EXIT
    if [[ $code -eq 0 ]]; then rm -rf "$work"; else say "what was made is in $work"; fi
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

say "$("$python" -c 'import platform, ray; print("Ray", ray.__version__, "on Python", platform.python_version())')"
say 'a single run'
node "$root/dist/cli.js" quantize "$root/examples/digits-dit" -o "$data/single" --bit-width 4 --quiet >/dev/null

export AQ_CLI="'$root/examples/cluster/failing-cli.sh'" AQ_TRY_FOLDER=$data AQ_TRY_FAIL='2=kill 3=worker'
# No statistics sent home, every line of the log, and nothing outside the temporary folder: no token in the home folder either.
export RAY_USAGE_STATS_ENABLED=0 RAY_DEDUP_LOGS=0 RAY_TMPDIR=$work
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
export RAY_AUTH_TOKEN
cd "$data"
code=0
"$python" "$here/quantize.py" "$root/examples/digits-dit" joined 3 --cpus 1 --memory-gb 0.5 -- --bit-width 4 >log 2>&1 || code=$?
sed 's/^/    /' log
[[ $code -eq 0 ]] || fail "quantize.py ended with $code"

for number in 2 3; do
    [[ -e failed-$number ]] || fail "share $number did not fail at first"
    [[ $(grep -c "share $number/3 on .*: begins" log) -ge 2 ]] || fail "share $number was not tried again"
done
grep -q 'share 2/3 on .*: done, from where it had stopped' log || fail 'share 2 did not go on where it stopped'
diff -r single joined || fail 'the joined model is not that of a single run'
say "$(find joined -type f | wc -l) files, the same as those of a single run"
code=0
"$python" "$here/quantize.py" "$root/examples/digits-dit" joined 3 >/dev/null 2>&1 || code=$?
[[ $code -eq 1 ]] || fail 'an output that exists was not refused'
say 'all is well'
