#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# `lockstep conform run` and `sequence` as a person meets them: messages, exit status, files; and that a
# deliberately broken instruction is found.
# Usage: run.sh LOCKSTEP BROKEN
set -u
lockstep=$1 broken=$2
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failures=0
fail() { echo "FAIL: $*"; failures=$((failures + 1)); }

# refuses WORDS ARGUMENT...: one sentence with WORDS on standard error, exit status 1.
refuses() {
    local words=$1; shift
    "$lockstep" conform "$@" >"$dir/out" 2>"$dir/err"
    local status=$?
    [ $status = 1 ] || fail "conform $*: exit status $status, not 1"
    [ "$(wc -l <"$dir/err")" = 1 ] || fail "conform $*: not one line: $(cat "$dir/err")"
    grep -qF -- "$words" "$dir/err" || fail "conform $*: no '$words' in: $(cat "$dir/err")"
}
refuses "--time 0 is not valid" run --time 0
refuses "--time 5x is not valid" run --time 5x
refuses "--cases -3 is not valid" run --cases -3
refuses "--seed xyz is not valid" run --seed xyz
refuses "--jobs 0 is not valid" run --jobs 0
refuses "--shard 3/2 is not valid" run --shard 3/2
refuses "--shard 1/2/3 is not valid" run --shard 1/2/3
refuses "--engine z80 is not valid" run --engine z80
refuses "--nonsense is not an option" run --nonsense
refuses "--seed needs a value" run --seed
refuses "stray is not an option" run stray
refuses "has no --insn" sequence --insn 'ADC*'
refuses "--vectors /proc/nowhere cannot be made" run --vectors /proc/nowhere

"$lockstep" conform run --help | grep -q -- "--shard" || fail "run --help does not tell --shard"
"$lockstep" conform run --insn 'NO_SUCH*' --cases 1 2>&1 | grep -q "no row matches" || fail "no row: no message"
"$lockstep" conform run --list --insn 'SYSCALL' | grep -q "exempt: " || fail "--list does not tell reasons"

"$lockstep" conform run --insn 'ADC_*' --cases 3000 --seed 7 --jobs 2 --json "$dir/a.json" --html "$dir/a.html" \
    >"$dir/out" 2>"$dir/err" || fail "ADC differs: $(cat "$dir/out")"
grep -q "rows covered, 0 exempt" "$dir/out" || fail "no statement of coverage: $(cat "$dir/out")"
grep -q '"different": 0' "$dir/a.json" || fail "the JSON report has no counts"
grep -q "</html>" "$dir/a.html" || fail "the page is not complete"

# The same seed gives the same campaign.
counts() { grep -o '"faults": {[^}]*}' "$1" | sort; }
"$lockstep" conform run --insn 'ADC_*' --cases 3000 --seed 7 --jobs 1 --json "$dir/b.json" >/dev/null 2>&1
[ "$(counts "$dir/a.json")" = "$(counts "$dir/b.json")" ] || fail "the same seed gave other cases"

# A broken instruction is found within a second and shown as a vector a person can read.
start=$(date +%s)
"$broken" conform run --insn 'ADC*' --time 1 --jobs 1 --vectors "$dir/v" >"$dir/out" 2>"$dir/err"
status=$?
[ $status = 2 ] || fail "the broken ADC: exit status $status, not 2"
[ $(($(date +%s) - start)) -le 15 ] || fail "the broken ADC took too long"
grep -q "adc" "$dir/out" || fail "the broken ADC is not shown: $(cat "$dir/out")"
vector=$(find "$dir/v" -name 'ADC*.json' | head -n 1)
grep -qE '"text": *"(lock |rep[a-z]* )*adc ' "$vector" || fail "no readable vector: $(cat "$vector")"
"$lockstep" conform check "$vector" >/dev/null || fail "the vector fails in the sound program, too"
"$broken" conform check "$vector" >/dev/null 2>&1 && fail "the vector does not show the mistake"

[ $failures = 0 ] && { sed -n "/^Difference 1:/,/^Vector/p" "$dir/out"; cat "$vector"; echo "run: all checks passed"; }
exit $((failures != 0))
