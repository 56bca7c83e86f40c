#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# lockstep conform gen and check from outside: what they write, say and end with.
# Usage: check.sh LOCKSTEP DATA
set -u
lockstep=$1 data=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0 checks=0
cd "$work" || exit 1

bad() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# run STATUS ARGUMENT...: the command ends with STATUS; its output is in out and err.
run() {
    local status=$1 got
    shift
    checks=$((checks + 1))
    timeout 60 "$lockstep" conform "$@" </dev/null >out 2>err
    got=$?
    [ $got = "$status" ] || bad "$*: status $got, not $status: $(head -3 err)"
}

# says PATTERN: the error output has one sentence with it.
says() {
    checks=$((checks + 1))
    [ "$(wc -l <err)" = 1 ] || bad "not one line: $(cat err)"
    grep -qE "^lockstep: .*\.$" err || bad "not a sentence: $(cat err)"
    grep -qE -- "$1" err || bad "lacks /$1/: $(cat err)"
}

# prints PATTERN: the output has it.
prints() {
    checks=$((checks + 1))
    grep -qE -- "$1" out || bad "output lacks /$1/: $(head -5 out)"
}

# -- what campaigns found and was mended: a vector for each row and way it ended --
timeout 60 "$lockstep" conform check "$data/found.json" >out 2>err
prints 'found.json: [0-9]+ vectors, [1-9][0-9]* pass, 0 differ'

# -- gen: the same for the same seed, readable by check --
run 0 gen --insn 'ADD_*' --count 5 --seed 12 -o a.json
run 0 gen --insn 'ADD_*' --count 5 --seed 12 -o b.json
cmp -s a.json b.json || bad "gen does not repeat"
run 0 gen --insn 'ADD_*' --count 5 --seed 13 -o b.json
cmp -s a.json b.json && bad "the seed has no influence"
run 0 check --native a.json
prints '^a.json: [1-9][0-9]* vectors, [1-9][0-9]* pass, 0 differ$'
run 0 gen --insn 'ADD_*' --count 5 --seed 12 --full -o full.json
run 0 check --native full.json
[ "$(wc -c <full.json)" -gt "$(($(wc -c <a.json) * 3))" ] || bad "--full is not longer"
mkdir rows
run 0 gen --insn 'XOR_*' --count 2 -o rows
[ "$(ls rows | grep -c '^XOR_.*\.json$')" -ge 5 ] || bad "no file for each row: $(ls rows)"
run 0 check --native rows
prints '^[0-9]+ files, 0 of them not usable: [0-9]+ vectors, [0-9]+ pass, 0 differ$'
run 0 gen --insn NOP_Ev --insn 'xor_al*' --count 1
prints '"row": "XOR_ALIb"'
prints '"row": "NOP_Ev"'

# An addition that every engine gets right, by hand; and the same with a wrong sum.
header='{"lockstep_vectors": 1, "host": "none"}'
add='{"mode": 64, "at": "10000000", "code": "4801d8", "row": "ADD_EvGv",
 "in": {"rax": "1", "rbx": "2"},
 "out": {"rax": "3", "rip": "10000004", "rflags": "206"}}'
printf '%s\n%s\n' "$header" "$add" >good.json
printf '%s\n%s\n' "$header" "${add/'"3"'/'"4"'}" >wrong.json
run 0 check good.json
prints '^good.json: 1 vectors, 1 pass, 0 differ$'
gzip -k good.json
run 0 check good.json.gz
run 2 check wrong.json
prints '^wrong.json:2: differs from interp:'
prints 'rax'
prints '^wrong.json: 1 vectors, 0 pass, 1 differ$'
run 2 check --show 0 wrong.json
grep -q 'differs from' out && bad "--show 0 shows"
run 2 check --native wrong.json
prints 'differs from this host'

# -- broken files: one sentence each, and the rest is checked --
head -c 150 good.json >cut.json
run 1 check cut.json wrong.json good.json
says '^lockstep: cut.json:2: .*truncated'
prints '^good.json: 1 vectors, 1 pass'
prints '^3 files, 1 of them not usable: 2 vectors, 1 pass, 1 differ'
head -c 100 good.json.gz >cut.json.gz
run 1 check cut.json.gz
says 'cut.json.gz: cannot be read'
printf '%s\n%s\n%s\n' "$header" "$add" "${add/'"row"'/'"colour": 1, "row"'}" >field.json
run 1 check field.json
says 'field.json:5: "colour" is no field'
prints '^field.json: 1 vectors, 1 pass'
printf '%s\n%s\n' "$header" "${add/'"rbx": "2"'/'"rbx": 2'}" >type.json
run 1 check type.json
says 'type.json:3: "rbx" must be a string'
printf 'nonsense' >nonsense.json
run 1 check nonsense.json
says 'nonsense.json:1: .*no vector file'
printf '{"a": 1}' >other.json
run 1 check other.json
says 'other.json:1: .*neither'
: >empty.json
run 1 check empty.json
says 'empty.json:1: .*no vectors'
run 1 check /nonexistent.json
says '/nonexistent.json: cannot be opened'
mkdir nothing
run 1 check nothing
says 'nothing: has no vector files'

# A feature that the model lacks: the vector is left out and named.
printf '%s\n%s\n%s\n' "$header" "$add" '{"mode": 64, "at": "10000000", "code": "c5f458c2",
 "row": "VADDPS_VxHxWx", "in": {}, "out": {"rip": "10000005"}}' >feature.json
run 1 check --cpu x86-64 feature.json
says 'feature.json:5: the instruction needs avx, which the processor model lacks'
prints '1 vectors, 1 pass, 0 differ, 1 need what this host lacks'

# What XGETBV gives and XSAVE stores depends on XCR0: an engine gets that of the vector, whatever the host has, and a
# vector that no model or not this host can be given is left out.
xgetbv='{"mode": 64, "at": "10000000", "code": "0f01d0", "row": "XGETBV", "xcr0": "3", "in": {"rdx": "5"},
 "out": {"rax": "3", "rdx": "0", "rip": "10000004"}}'
printf '%s\n%s\n' "$header" "$xgetbv" >xcr0.json
run 0 check xcr0.json
prints '1 vectors, 1 pass, 0 differ$'
run 0 check --cpu x86-64-v3 xcr0.json
printf '%s\n%s\n' "$header" "${xgetbv/'"rax": "3"'/'"rax": "7"'}" >xcr0.json
run 2 check xcr0.json
printf '%s\n%s\n%s\n' "$header" "$add" "${xgetbv/'"xcr0": "3"'/'"xcr0": "4000000000000003"'}" >xcr0.json
run 1 check xcr0.json
says 'xcr0.json:5: the instruction needs an XCR0 of 4000000000000003, which the processor model lacks'
prints '1 vectors, 1 pass, 0 differ, 1 need what this host lacks'
run 1 check --native xcr0.json
says 'xcr0.json:5: the instruction needs an XCR0 of 4000000000000003, which this host lacks'
# Registers that this host may lack.
printf '%s\n%s\n' "$header" "${add/'"in": {'/'"in": {"k3": "1", "zmm17": "1", '}" >state.json
run 0 check state.json
if grep -qw avx512f /proc/cpuinfo; then
    run 0 check --native state.json
else
    run 1 check --native state.json
    says 'the instruction needs an XCR0 of [0-9a-f]+, which this host lacks'
fi

# -- SingleStepTests --
for cpu in 8086 80286 80386; do
    run 0 check "$data/$cpu"
    prints "^3 files, 0 of them not usable: [0-9]+ vectors, [0-9]+ pass, 0 differ"
done
run 0 check "$data/8086"
prints '8086-push-sp +3  PUSH SP .*386 PRM 14.7, item 4'
run 0 check --suite 8086 "$data/8086/tests.MOO"
run 2 check --suite 80286 "$data/8086/tests.MOO"
prints 'tests.MOO: byte [0-9]+: test 0: add al,bl'
run 1 check --native "$data/8086/tests.json"
says 'leave out --native'
head -c 1000 "$data/80386/tests.MOO" >cut.MOO
run 1 check cut.MOO "$data/80386/tests.MOO"
says 'cut.MOO: byte [0-9]+: .*truncated'
prints 'tests.MOO: 8 vectors'
# Tests whose hash the suite has withdrawn are not run.
cp "$data/80286/tests.MOO" . && printf '%s\n' 0202020202020202020202020202020202020202 >revocation_list.txt
run 0 check tests.MOO
prints '8 vectors, .*, 1 revoked$'

# -- usage --
run 1 check
says 'needs files'
run 1 check --engine qemu a.json
says '--engine qemu is not valid; use interp, jit or jit-counted'
run 1 check --cpu 486 a.json
says '486'
run 1 check --suite V20 a.json
says '--suite V20 is not valid; use 8086, 80286 or 80386'
run 1 check --show x a.json
says '--show x is not valid'
run 1 check --nonsense
says '--nonsense is not an option'
run 1 check --cpu
says 'needs an argument'
run 1 gen --count x
says '--count x is not valid'
run 1 gen --seed xyz
says '--seed xyz is not valid'
run 1 gen --insn 'FROB*'
says 'FROB\* matches no row'
run 1 gen --insn NOP_Ev -o /nonexistent/x
says '/nonexistent/x cannot be written'
run 1 gen nonsense
says 'nonsense is not an option'
run 0 gen --help
prints '^Usage: lockstep conform gen'
run 0 check --help
prints '^Usage: lockstep conform check'

echo "$checks checks, $failures failures"
[ $failures = 0 ]
