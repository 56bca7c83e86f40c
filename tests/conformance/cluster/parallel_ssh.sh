#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs a conformance campaign with GNU Parallel: shards on hosts reached by ssh, or on this one, then
# merges the reports. Ends with the merge's status (0, 2 or 1).
#
# Usage: parallel_ssh.sh SHARDS DIR HOSTS [OPTION of `lockstep conform run`...]
#   SHARDS  parts of the campaign, each one process
#   DIR     for reports and logs, here
#   HOSTS   as parallel --sshlogin takes them: "a,b", "4/user@a" (4 at a time), ":" for this host
# Environment: LOCKSTEP (the program, default lockstep; it is copied to the hosts), CONFORM (run or
#   sequence, default run), JOBS (shards at a time on a host, default one for each processor),
#   PARALLEL_SSH (the ssh command with its options). Other hosts need rsync and the libraries of the
#   program (libcapstone4, libjansson4, zlib1g).
set -eu

if [ $# -lt 3 ] || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
    sed -n '/^# Usage/,/^# Environment/p' "$0" | sed 's/^# //' >&2
    exit 1
fi
shards=$1 hosts=$3
mkdir -p "$2"
dir=$(cd "$2" && pwd)
shift 3
lockstep=$(command -v "${LOCKSTEP:-lockstep}") || {
    echo "parallel_ssh.sh: ${LOCKSTEP:-lockstep} is no program; set LOCKSTEP." >&2
    exit 1
}
rm -f "$dir"/shard-*.json
lockstep=$(readlink -f "$lockstep")
cd "$dir"

# All shards must have one seed.
case " $* " in
*" --seed "*) ;;
*) set -- --seed "$(od -An -N7 -tx8 /dev/urandom | tr -d ' \n' | tail -c 14)" "$@" ;;
esac
printf -v options '%q ' "$@"
echo "$shards shards on $hosts, conform ${CONFORM:-run} $options"

# A shard that finds differences ends with 2, which is no failure here: the merge tells what is
# missing. On other hosts the shards run in a folder of their own below the home folder, to which the program
# goes and from which the reports come back; this host needs no copies.
command="conform ${CONFORM:-run} $options --jobs 1 --shard {}/$shards --json"
common=(--jobs "${JOBS:-100%}" --joblog "$dir/joblog" --results "$dir/logs")
if [ "$hosts" = : ]; then
    seq "$shards" | parallel "${common[@]}" "$lockstep $command $dir/shard-{}.json"
else
    cp "$lockstep" "$dir/lockstep"
    seq "$shards" | parallel "${common[@]}" --sshlogin "$hosts" --workdir ".lockstep-conform-$$" --basefile ./lockstep \
        --return "shard-{}.json" --cleanup "./lockstep $command shard-{}.json"
fi >"$dir/parallel.log" 2>&1 || true
rm -f "$dir/lockstep"
[ -n "$(ls "$dir"/shard-*.json 2>/dev/null)" ] || {
    echo "parallel_ssh.sh: no shard has come back; see $dir/parallel.log and $dir/logs." >&2
    exit 1
}
"$lockstep" conform merge -o "$dir/report.json" --html "$dir/report.html" "$dir"/shard-*.json
