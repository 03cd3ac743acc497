#!/usr/bin/env bash
# The command line of the clone, in which some shares fail at their first attempt. Only for the try.sh scripts.
#
#   failing-cli.sh ARGUMENT...       AQ_TRY_FOLDER: notes what has failed already
#                                    AQ_TRY_FAIL: "2=kill 3=stop", what happens to which share
#
#   kill    killed when it has finished some of its tensors, as by a memory limit: what it did is there, what it was doing is half done
#   stop    stops moving there, until somebody ends it, as a share that is preempted
#   worker  the process that started it is killed; it goes on by itself and is done some time after the next attempt has begun
set -euo pipefail

cli=(node "$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/dist/cli.js")
share='' output=''
for ((i = 1; i < $#; i++)); do
    next=$((i + 1))
    case ${!i} in
        --partition) share=${!next%/*} ;;
        -o) output=${!next} ;;
    esac
done

failure=
for entry in ${AQ_TRY_FAIL:-}; do [[ -n $share && ${entry%%=*} == "$share" ]] && failure=${entry#*=}; done
mark=${AQ_TRY_FOLDER:-}/failed-$share
if [[ -n $failure && -e $mark ]]; then touch "$mark.again"; fi
if [[ -z $failure || -e $mark ]]; then exec "${cli[@]}" "$@"; fi

parent=$PPID
"${cli[@]}" "$@" &
child=$!
trap 'kill -CONT "$child"; kill -TERM "$child"; wait "$child" || true; exit 143' TERM
# The first line says what the job is; each further one, that a tensor is finished.
journal=$(dirname "$output")/.$(basename "$output").aq-partial/journal.jsonl
until [[ -f $journal ]] && (($(wc -l <"$journal") > 3)); do
    kill -0 "$child" 2>/dev/null || { echo "share $share ended before it could be made to fail" >&2; exit 70; }
    sleep 0.01
done
kill -STOP "$child"
touch "$mark"
case $failure in
    kill)
        kill -KILL "$child"
        wait "$child" || true
        exit 137
        ;;
    stop)
        while kill -0 "$child" 2>/dev/null; do sleep 0.1; done
        exit 1
        ;;
    worker)
        kill -KILL "$parent"
        for ((i = 0; i < 600; i++)); do
            [[ ! -e $mark.again ]] || break
            sleep 0.1
        done
        sleep 3
        kill -CONT "$child"
        wait "$child"
        ;;
esac
