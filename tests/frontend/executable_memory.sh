#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Hosts that allow no executable memory, or only some kinds: one sentence that offers the interpreter,
# which works. Usage: executable_memory.sh LOCKSTEP GUESTS_BIN HOST_POLICY
set -u
. "$(dirname "$0")/common.sh"
host_policy=$3

# run POLICY OPTION...: status in $status, output in $work/out and $work/err.
run() {
    local policy=$1
    shift
    checks=$((checks + 1))
    timeout $((30 * ${TEST_SLOWNESS:-1})) "$host_policy" "$policy" "$lockstep" -nodefaults -display none \
        -device isa-debug-exit,iobase=0xf4,iosize=4 "$@" </dev/null >"$work/out" 2>"$work/err"
    status=$?
}

# refused POLICY SENTENCE OPTION...
refused() {
    local policy=$1 sentence=$2
    shift 2
    run "$policy" "$@"
    [ $status = 1 ] || bad "$policy $*: status $status"
    [ ! -s "$work/out" ] || bad "$policy $*: output"
    [ "$(cat "$work/err")" = "lockstep: $sentence" ] || bad "$policy $*: $(cat "$work/err")"
}

# passes POLICY STATUS OPTION...: and says nothing.
passes() {
    local policy=$1 wanted=$2
    shift 2
    run "$policy" "$@"
    [ $status = "$wanted" ] || bad "$policy $*: status $status instead of $wanted: $(cat "$work/err")"
    [ ! -s "$work/err" ] || bad "$policy $*: $(cat "$work/err")"
}

exit_guest=$(guest exit) fpu_guest=$(guest fpu)
exits=43 x87_exit=7 # isa-debug-exit makes 2 n + 1 of what is in AL: 21, and 3 (tests/machine/guests.asm)

passes mdwe $x87_exit -bios "$fpu_guest"
passes noexec $x87_exit -bios "$fpu_guest"
passes old $x87_exit -bios "$fpu_guest"

# What is left of executable memory is enough for x87 and SIMD instructions.
refused small 'The host allows no executable memory for translated code; choose -engine interp.' \
    -bios "$fpu_guest"
refused small 'The host allows no executable memory for translated code; choose -engine interp.' \
    -smp 4 -bios "$fpu_guest"
passes small $x87_exit -engine interp -bios "$fpu_guest"
passes small $x87_exit -jit cache=1M -bios "$fpu_guest"

nothing='The host allows no executable memory for translated code; choose -engine interp, where the guest then has no x87 and no SIMD instructions.'
refused none "$nothing" -bios "$exit_guest"
refused none "$nothing" -engine check -clock counted -bios "$exit_guest"
refused none '-cpu x86-64-v2 needs fpu, which this host does not have; choose a lower level or max.' \
    -engine interp -cpu x86-64-v2 -bios "$exit_guest"
run none -engine interp -bios "$exit_guest"
[ $status = $exits ] || bad "interpreter: status $status: $(cat "$work/err")"
grep -q 'no executable memory: the guest has no x87' "$work/err" || bad "no warning: $(cat "$work/err")"
[ "$(wc -l <"$work/err")" = 1 ] || bad "not one line: $(cat "$work/err")"
# x87 instructions are #UD: no exception vector is set up, so the guest does not come to its end.
run none -engine interp -no-reboot -bios "$fpu_guest"
[ $status != $x87_exit ] || bad "x87 instructions without executable memory"
finish
