#!/usr/bin/env bash
# Runs the recipe for real, on a Slurm of one node that it starts by itself and ends: examples/cluster/slurm/try.sh
#
# Three shares of examples/digits-dit: the second one is killed in its work and tries again by itself, the third one is queued again from
# outside as by a preemption. The joined model must be that of a single run, byte by byte. Exit status 0 when all of that was so.
#
# Needs the clone built, and Debian's or Ubuntu's packages slurm-wlm and munge (installed here when root). All daemons have their files in a
# temporary folder and their own ports and socket: a Slurm that this machine may be part of is not asked and not touched.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
say() { printf 'try: %s\n' "$*"; }
fail() {
    say "FAILED: $*"
    exit 1
}

PATH=$PATH:/usr/sbin:/sbin
tools=(munged sbatch scontrol slurmctld slurmd)
if ! type "${tools[@]}" >/dev/null 2>&1; then
    [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null || fail 'needs slurm-wlm and munge: apt-get install slurm-wlm munge'
    say 'installing slurm-wlm and munge'
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge; } >/dev/null ||
        fail 'apt-get could not install them'
fi
[[ -f $root/dist/cli.js ]] || fail 'the clone is not built: npm ci && npm run build'

# Inside a job of another cluster these would lead there.
while read -r name; do unset "$name"; done < <(compgen -e | grep -E '^(SLURM|SBATCH|ARROW_QUANT)_' || true)

work=$(mktemp -d)
own=$work/slurm
data="$work/a folder"
mkdir -p "$own/state" "$own/spool" "$data"
chmod 755 "$work"
export SLURM_CONF=$own/slurm.conf

# A daemon writes into its log; $started has its number, for the end.
started=()
start() {
    local name=$1
    shift
    "$@" >"$own/$name.out" 2>&1 &
    started+=("$!")
}
finish() {
    local code=$? number
    trap - EXIT
    if [[ ${#started[@]} -eq 3 ]]; then
        scancel --me 2>/dev/null || true
        within 20 no_jobs || true
    fi
    for ((number = ${#started[@]} - 1; number >= 0; number--)); do
        kill "${started[number]}" 2>/dev/null || true
        wait "${started[number]}" 2>/dev/null || true
    done
    if [[ $code -eq 0 ]]; then rm -rf "$work"; else say "logs are in $work"; fi
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

# within SECONDS COMMAND...: until it succeeds
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.5
    done
}
node_ready() { [[ $(sinfo -h -o %T 2>/dev/null) == idle ]]; }
no_jobs() { [[ -z $(squeue -h -o %i 2>/dev/null || echo none) ]]; }

# Two ports that are free now.
read -r port_controller port_node < <(node -e '
    const servers = [0, 0].map(() => require("net").createServer().listen(0, "127.0.0.1", () => {
        if (!servers.every((s) => s.listening)) return;
        console.log(servers.map((s) => s.address().port).join(" "));
        servers.forEach((s) => s.close());
    }));')
hardware=$(slurmd -C | grep -oE '\b(CPUs|RealMemory)=[0-9]+' | tr '\n' ' ')
cat >"$SLURM_CONF" <<CONF
ClusterName=try
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port_controller
SlurmdPort=$port_node
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
CredType=cred/munge
# A job that is queued again waits until its old credential has expired: two minutes by default.
AuthInfo=socket=$own/munge.socket,cred_expire=5
StateSaveLocation=$own/state
SlurmdSpoolDir=$own/spool
SlurmctldPidFile=$own/slurmctld.pid
SlurmdPidFile=$own/slurmd.pid
SlurmctldLogFile=$own/slurmctld.log
SlurmdLogFile=$own/slurmd.log
# Without control groups and without a database, so that it runs in a container.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
NodeName=one NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 $hardware State=UNKNOWN
PartitionName=try Nodes=one Default=YES MaxTime=INFINITE State=UP
CONF

(umask 077 && head -c 1024 /dev/urandom >"$own/munge.key")
start munged munged --foreground --force --socket="$own/munge.socket" --key-file="$own/munge.key" --pid-file="$own/munged.pid" \
    --seed-file="$own/munged.seed" --log-file="$own/munged.log"
within 10 test -S "$own/munge.socket" || fail 'munged did not start'
start slurmctld slurmctld -D -c
start slurmd slurmd -D -N one
within 60 node_ready || fail 'the node did not come up'
say "$(slurmctld -V), one node: $hardware"

say 'a single run'
node "$root/dist/cli.js" quantize "$root/examples/digits-dit" -o "$data/single" --bit-width 4 --quiet >/dev/null

export AQ_CLI="'$root/examples/cluster/failing-cli.sh'" AQ_TRY_FOLDER=$data AQ_TRY_FAIL='2=kill 3=stop'
export AQ_SBATCH='--cpus-per-task=1 --mem=500M --time=5'
cd "$data"
jobs=$("$here/submit.sh" "$root/examples/digits-dit" joined 3 --bit-width 4)
array=$(sed -n 's/^shares //p' <<<"$jobs")
merge=$(sed -n 's/^merge //p' <<<"$jobs")
say "submitted array $array and merge $merge"

within 120 test -e "$data/failed-3" || fail 'share 3 did not get to where it stops'
[[ $(squeue -h -j "$merge" -o %T) == PENDING ]] || fail 'the merge did not wait'
say 'share 3 is queued again from outside'
scontrol requeue "${array}_3"
within 300 no_jobs || fail "jobs did not end: $(squeue -h -o '%i %T %r' | tr '\n' ';')"

# Of each log what tells its story; the summaries are as always.
for log in joined.shares/*.log; do
    grep -E '^(share [0-9]+/[0-9]+[, ]|output|error|warning|slurmstepd)|Killed' "$log" | sed "s|^|    $(basename "$log" .log): |"
done
state() { scontrol show job "$1" | grep -oE '\b(JobState|Restarts|ExitCode)=[^ ]+' | tr '\n' ' '; }
for job in "${array}_1" "${array}_2" "${array}_3" "$merge"; do
    say "job $job: $(state "$job")"
    [[ $(state "$job") == *JobState=COMPLETED* ]] || fail "job $job did not complete"
done
for number in 2 3; do
    [[ $(state "${array}_$number") == *Restarts=1* ]] || fail "share $number was not restarted once"
    grep -q AQ_WARN_RESUMED "joined.shares/share-$number.log" || fail "share $number did not go on where it stopped"
done
diff -r single joined || fail 'the joined model is not that of a single run'
say "$(find joined -type f | wc -l) files, $(du -sb joined | cut -f1) bytes, the same as those of a single run"
code=0
"$here/submit.sh" "$root/examples/digits-dit" joined 3 --bit-width 4 2>/dev/null || code=$?
[[ $code -eq 2 ]] || fail 'an output that exists was not refused'
say 'all is well'
