#!/usr/bin/env bash
# Quantizes a model in N shares under Slurm and joins them:
#
#   submit.sh MODEL OUT N [OPTION...]        options as for `arrow-quant quantize`: --bit-width 4
#
# MODEL and OUT are on a file system that all nodes share. Shares and logs are in OUT.shares, which can be removed afterwards. The same line
# once more makes only what is missing. Prints the numbers of both jobs.
#
#   AQ_CLI             the command to use on the nodes, `npx arrow-quant` by default; started where this script was
#   AQ_SHARE_RETRIES   how often a failed share is tried again, 3 by default
#   AQ_SBATCH          further options of sbatch for both jobs: "--account=mine --partition=long"
set -euo pipefail

usage() {
    echo "usage: submit.sh MODEL OUT N [OPTION...]" >&2
    exit 2
}
[[ $# -ge 3 && $3 =~ ^[1-9][0-9]*$ ]] || usage
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
model=$(realpath -- "$1")
out=$(realpath -m -- "$2")
count=$3
shift 3
shares=$out.shares
eval "extra=(${AQ_SBATCH:-})"

if [[ -e $out ]]; then
    echo "submit.sh: $out exists" >&2
    exit 2
fi

# Shares of an earlier call with other options would fit together and be joined into what nobody asked for now.
mkdir -p -- "$shares"
printf -v request '%q ' "$model" "$count" "$@"
if [[ -f $shares/request && $(<"$shares/request") != "$request" ]]; then
    printf 'submit.sh: %s is of another call; remove it or choose another OUT\n  then  %s\n  now   %s\n' \
        "$shares" "$(<"$shares/request")" "$request" >&2
    exit 2
fi
printf '%s' "$request" >"$shares/request"

array=$(sbatch --parsable "${extra[@]}" --array="1-$count" --output="$shares/share-%a.log" \
    "$here/quantize.sbatch" "$model" "$shares" "$count" "$@")
array=${array%%;*} # the name of the cluster may follow
merge=$(sbatch --parsable "${extra[@]}" --dependency="afterok:$array" --kill-on-invalid-dep=yes --output="$shares/merge.log" \
    "$here/merge.sbatch" "$model" "$shares" "$count" "$out")
echo "shares $array"
echo "merge ${merge%%;*}"
