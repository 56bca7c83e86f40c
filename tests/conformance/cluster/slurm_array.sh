#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs a conformance campaign under Slurm: a job array with one shard in each task, and a job that
# merges the reports when all have ended. Waits for it and ends with its status (0, 2 or 1).
#
# Usage: slurm_array.sh SHARDS DIR [OPTION of `lockstep conform run`...]
#   SHARDS  tasks of the array
#   DIR     for reports and logs, on a file system that all nodes share
# Environment: LOCKSTEP (the program, default lockstep), CONFORM (run or sequence, default run),
#   CPUS (of a task, default 1), SBATCH_* as sbatch knows them.
set -eu

if [ $# -lt 2 ] || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
    sed -n '/^# Usage/,/^# Environment/p' "$0" | sed 's/^# //' >&2
    exit 1
fi
shards=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
shift 2
lockstep=$(command -v "${LOCKSTEP:-lockstep}") || {
    echo "slurm_array.sh: ${LOCKSTEP:-lockstep} is no program; set LOCKSTEP." >&2
    exit 1
}
lockstep=$(readlink -f "$lockstep")
rm -f "$dir"/shard-*.json

# All shards must have one seed.
case " $* " in
*" --seed "*) ;;
*) set -- --seed "$(od -An -N7 -tx8 /dev/urandom | tr -d ' \n' | tail -c 14)" "$@" ;;
esac
printf -v options '%q ' "$@"

array=$(sbatch --parsable --job-name=conform --array="1-$shards" --cpus-per-task="${CPUS:-1}" \
    --output="$dir/shard-%a.log" --wrap="
        ${lockstep@Q} conform ${CONFORM:-run} $options --jobs ${CPUS:-1} \
            --shard \$SLURM_ARRAY_TASK_ID/$shards --json ${dir@Q}/shard-\$SLURM_ARRAY_TASK_ID.json")
echo "Array $array: $shards shards, conform ${CONFORM:-run} $options"

# Shards that found differences ended with 2: afterany. --wait gives the merge job's status.
status=0
sbatch --wait --parsable --job-name=conform-merge --dependency="afterany:${array%%;*}" \
    --output="$dir/merge.log" --wrap="
        ${lockstep@Q} conform merge -o ${dir@Q}/report.json --html ${dir@Q}/report.html \
            ${dir@Q}/shard-*.json" ||
    status=$?
cat "$dir/merge.log"
exit $status
