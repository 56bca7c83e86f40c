#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# conform decode, cpuid and system as a person meets them: exit status, one sentence for what is
# wrong, reports that are JSON. Usage: commands.sh LOCKSTEP
set -u
lockstep=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0
bad() { echo "$*"; failures=$((failures + 1)); }

# refused PATTERN ARGUMENT...: status 1, no output, one sentence that has PATTERN.
refused() {
    local pattern=$1
    shift
    timeout 30 "$lockstep" conform "$@" >"$work/out" 2>"$work/err"
    [ $? = 1 ] || bad "$*: not status 1"
    [ ! -s "$work/out" ] || bad "$*: output"
    [ "$(wc -l <"$work/err")" = 1 ] || bad "$*: not one line: $(cat "$work/err")"
    grep -qE "^lockstep: .*$pattern.*\.$" "$work/err" || bad "$*: $(cat "$work/err")"
}

# passes ARGUMENT...: status 0 and a JSON report.
passes() {
    timeout 100 "$lockstep" conform "$@" --json "$work/report" >"$work/out" 2>"$work/err" ||
        bad "$*: status $?: $(cat "$work/err")"
    python3 -m json.tool "$work/report" >/dev/null || bad "$*: the report is no JSON"
}

for command in decode cpuid system; do
    "$lockstep" conform $command --help | grep -q -- --json || bad "$command --help"
    refused "$command --nonsense is not an option; see" $command --nonsense
    refused "$command --json needs a value" $command --json
    refused "--json /nonexistent/x cannot be written.*another" $command --json /nonexistent/x
    "$lockstep" conform --help | grep -q "$command" || bad "conform --help lacks $command"
done
refused '--jobs 0x is not valid; use a number' decode --jobs 0x
refused '--jobs 100000 is not valid; use a number up to' decode --jobs 100000
refused '--quick.*leave out' decode --quick --random 5
refused 'nonsense is not known; see -cpu help' cpuid --cpu nonsense
refused 'there is no feature nonsense' cpuid --cpu max,-nonsense
refused '--engine nonsense is not known; use' system --engine nonsense
refused '--only nonsense is not an area; see' system --only nonsense
refused 'nonsense' system --cpu nonsense --only smc

passes decode --random 50000 --seed 7 --jobs 2
passes cpuid --cpu x86-64-v2
passes system --only smc
"$lockstep" conform system --list | grep -qx segments64 || bad "system --list"
timeout 20 "$lockstep" conform decode --time 1 --jobs 1 | grep -q ' 0 are unexplained' ||
    bad "decode --time"
[ $failures = 0 ] && echo "all commands behave"
exit $((failures > 0))
