#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A Slurm cluster of this machine alone, to try slurm_array.sh: munged, slurmctld and slurmd of
# Debian's slurm-wlm with all their files in one folder. Needs root. Nothing outside DIR is changed.
#
# Usage: one_node.sh start DIR | stop DIR
# After start: export SLURM_CONF=DIR/slurm.conf
set -eu

dir=${2:?DIR is missing; see the top of this file.}

start() {
    mkdir -p "$dir"/{munge,state,spool,log}
    dir=$(cd "$dir" && pwd)
    chmod 755 "$dir" "$dir"/{state,spool,log}
    chmod 700 "$dir/munge"
    dd if=/dev/urandom of="$dir/munge/key" bs=1024 count=1 status=none
    chmod 400 "$dir/munge/key"
    mkdir -p "$dir/socket"
    chmod 755 "$dir/socket"
    local cpus host
    cpus=$(nproc) host=$(hostname -s)
    cat >"$dir/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/socket/munge
CryptoType=crypto/munge
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld
SlurmdLogFile=$dir/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SchedulerParameters=sched_interval=1,bf_interval=1
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
CONF
    munged --force --key-file="$dir/munge/key" --socket="$dir/socket/munge" \
        --pid-file="$dir/munged.pid" --log-file="$dir/log/munged" --seed-file="$dir/munge/seed"
    export SLURM_CONF=$dir/slurm.conf
    slurmctld
    slurmd
    for _ in $(seq 50); do
        sinfo --noheader --format=%t 2>/dev/null | grep -q idle && break
        sleep 0.2
    done
    sinfo
    sinfo --noheader --format=%t | grep -q idle || {
        echo "one_node.sh: the node is not idle; see $dir/log." >&2
        exit 1
    }
    echo "export SLURM_CONF=$SLURM_CONF"
}

# By the process ids that the daemons wrote.
stop() {
    local name
    for name in slurmd slurmctld munged; do
        [ ! -s "$dir/$name.pid" ] || kill "$(cat "$dir/$name.pid")" 2>/dev/null || true
    done
}

case ${1:-} in
start) start ;;
stop) stop ;;
*)
    echo "one_node.sh: use start DIR or stop DIR." >&2
    exit 1
    ;;
esac
