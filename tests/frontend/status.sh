#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Exit status, files written at the end, and what is said. Usage: status.sh LOCKSTEP GUESTS_BIN
set -u
. "$(dirname "$0")/common.sh"
common=(-nodefaults -display none -m 4M)
debug_exit=(-device isa-debug-exit,iobase=0xf4,iosize=4)

# ends STATUS OPTION...
ends() {
    local want=$1 status
    shift
    checks=$((checks + 1))
    timeout $((30 * ${TEST_SLOWNESS:-1})) "$lockstep" "$@" </dev/null >"$work/out" 2>"$work/err"
    status=$?
    [ $status = "$want" ] || bad "$*: status $status instead of $want: $(cat "$work/err")"
}

says() { grep -qE -- "$1" "$work/out" || bad "standard output lacks /$1/"; }
complains() { grep -qE -- "$1" "$work/err" || bad "standard error lacks /$1/: $(cat "$work/err")"; }
is_quiet() { [ ! -s "$work/err" ] || bad "standard error: $(cat "$work/err")"; }

# -- words --
for option in --help -help -h; do
    ends 0 "$option"
    is_quiet
    says '-kernel FILE'
    says 'Ctrl-A x'
done
for option in --version -version; do
    ends 0 "$option"
    is_quiet
    says '^lockstep [0-9]+\.[0-9]+'
done
ends 0 -cpu help
says 'x86-64-v3'
ends 0 -device help
says 'isa-debug-exit'
ends 0 -d help
says 'in_asm'
ends 0 -m 512M --help
says 'Usage'

# -- ways to end --
ends 0 "${common[@]}" -bios "$(guest power_off)"
is_quiet
ends 43 "${common[@]}" "${debug_exit[@]}" -bios "$(guest exit)"
is_quiet
ends 2 "${common[@]}" -no-reboot -bios "$(guest triple_fault)"
complains 'triple fault'
complains '^RAX=0000000000000000 .*RDX=0000000012345678'
complains '^CR0='
for kind in cf9 92 8042; do
    ends 0 "${common[@]}" -no-reboot -bios "$(guest reset_$kind)"
    is_quiet
done
for kind in cf9 92 8042 triple; do
    ends 19 "${common[@]}" "${debug_exit[@]}" -bios "$(guest reset_$kind)"
    is_quiet
done
ends 2 "${common[@]}" -clock counted -bios "$(guest halt)"
complains 'halted'

# -- back ends --
ends 43 "${common[@]}" "${debug_exit[@]}" -bios "$(guest hello)" -serial stdio
says '^Lockstep says hello$'
ends 43 "${common[@]}" "${debug_exit[@]}" -bios "$(guest hello)" -serial "file:$work/serial"
grep -qx 'Lockstep says hello' "$work/serial" || bad "the serial file has: $(cat "$work/serial")"
[ ! -s "$work/out" ] || bad "output in two places"
ends 43 "${common[@]}" "${debug_exit[@]}" -bios "$(guest hello)" -serial null
[ ! -s "$work/out" ] || bad "-serial null writes"
ends 43 -m 4M -nographic "${debug_exit[@]}" -bios "$(guest hello)"
says '^Lockstep says hello$'

# -- input: what comes through a pipe arrives, and its end ends nothing --
checks=$((checks + 1))
printf 'HAL!' | { sleep 0.5; cat; } | timeout $((20 * ${TEST_SLOWNESS:-1})) "$lockstep" "${common[@]}" "${debug_exit[@]}" \
    -serial stdio -bios "$(guest echo)" >"$work/out" 2>"$work/err"
[ "${PIPESTATUS[2]}" = 11 ] || bad "echo: status ${PIPESTATUS[2]}"
[ "$(cat "$work/out")" = RIBM ] || bad "echo: $(cat "$work/out")"

# -- reports --
ends 43 "${common[@]}" "${debug_exit[@]}" -bios "$(guest exit)" -exit-report "$work/report"
grep -q '"code": 43, "ram_hash"' "$work/report" || bad "a count that nobody counted: $(cat "$work/report")"
ends 43 "${common[@]}" "${debug_exit[@]}" -engine interp -bios "$(guest exit)" -exit-report "$work/report"
python3 - "$work/report" <<'P' || bad "exit report: $(cat "$work/report")"
import json, sys
r = json.load(open(sys.argv[1]))
assert r["end"] == "debug-exit" and r["code"] == 43
assert 5 < r["instructions"] < 100 and len(r["ram_hash"]) == 32
P
for n in 1 2; do
    ends 15 "${common[@]}" "${debug_exit[@]}" -clock counted,ips=10M -bios "$(guest work)" \
        -exit-report "$work/report$n"
done
cmp -s "$work/report1" "$work/report2" || bad "counted runs differ"

# -- traces --
ends 43 "${common[@]}" "${debug_exit[@]}" -bios "$(guest exit)" -d in_asm,mmio -D "$work/trace"
is_quiet
traces() { grep -qE -- "$1" "$work/trace" || bad "the trace lacks /$1/: $(head "$work/trace")"; }
traces '^f000:0{12}fff0 ljmp .*; JMP_Ap ea '
traces '^f000:0{16} cli ; CLI fa$'
traces '^pio write 0xf4 [124] <- 0x'
ends 2 "${common[@]}" -no-reboot -bios "$(guest triple_fault)" -d int -D "$work/trace"
traces '^fault 06 error 0000 at '
ends 43 "${common[@]}" "${debug_exit[@]}" -bios "$(guest exit)" -d in_asm
complains '^f000:0{16} cli '

# -- translated code: SeaBIOS, until its first block is shown; statistics at the end --
for engine in jit check; do
    checks=$((checks + 1))
    rm -f "$work/trace"
    "$lockstep" "${common[@]}" -engine $engine -jit stats -d out_asm -D "$work/trace" 2>"$work/err" &
    process=$!
    for _ in $(seq 50); do
        grep -qs "^out of line" "$work/trace" && break
        sleep 0.2
    done
    kill -TERM $process
    wait $process || bad "-engine $engine: status $?: $(cat "$work/err")"
    traces '^block 0{8}[0-9a-f]{8}, RAM\+[0-9a-f]+, mode [0-9a-f]+: [0-9]+ instructions'
    traces '^[0-9a-f]{16}  [a-z]+ .* \| [0-9a-f]+  [a-z]+'
    complains '^ +[1-9][0-9]* blocks translated$'
done
complains '^ +[1-9][0-9]* stretches compared with the interpreter$'

# -- signals: SIGUSR1 saves the screen and the machine goes on; SIGTERM ends it with status 0 --
checks=$((checks + 1))
"$lockstep" "${common[@]}" -bios "$(guest screen)" -screendump "$work/screen" 2>"$work/err" &
process=$!
for _ in $(seq 50); do
    sleep 0.2
    kill -USR1 $process || break
    grep -q '^Lockstep says hello' "$work/screen" 2>/dev/null && break
done
grep -q '^Lockstep says hello' "$work/screen" || bad "no screen: $(cat "$work/screen")"
kill -0 $process || bad "SIGUSR1 ends it"
for signal in TERM INT HUP QUIT; do
    [ $signal = TERM ] || { "$lockstep" "${common[@]}" -bios "$(guest spin)" & process=$!; sleep 0.3; }
    kill -$signal $process
    wait $process || bad "SIG$signal: status $?"
done

finish
