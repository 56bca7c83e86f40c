#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Guests with each switch of the translator off, and with all: switches.sh LOCKSTEP IMAGES [NAME...]
# NAME is a line of guests.cfg.
set -u
lockstep=$1 images=$2
shift 2
[ $# -gt 0 ] || set -- realmode segments32 segments64 interrupts64 paging64 smc strings_fpu debug
here=$(dirname "${BASH_SOURCE[0]}")
switches=$("$lockstep" -jit help | grep -oE '^ *no-[a-z0-9-]+')
[ "$(wc -w <<<"$switches")" -ge 20 ] || { echo "-jit help names no switches"; exit 1; }
all=$(tr -s ' \n' ',' <<<"$switches")
host=no-fsgsbase,no-avx,no-avx512,no-xsave,no-bmi,no-scan
all=${all#,} all=${all%,}
failures=0 runs=0
for switch in $switches "$all" "$host" "cache=256K,$all" cache=256K; do
    for guest; do
        runs=$((runs + 1))
        output=$(bash "$here/run.sh" "$lockstep" "$images" "$guest" -jit "$switch") && continue
        failures=$((failures + 1))
        printf '%s\n-jit %s: %s FAILED\n' "$(grep -v ^PASS <<<"$output")" "$switch" "$guest"
    done
done
echo "$runs runs, $failures failures"
[ $failures = 0 ]
