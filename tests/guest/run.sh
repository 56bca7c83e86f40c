#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs one line of guests.cfg: run.sh ENGINE IMAGES NAME [ARGUMENT...]. ENGINE is a Lockstep or QEMU
# program, IMAGES the folder of the *.elf files, the arguments are added to the engine's own.
# Passes when the guest ends with status 33 and printed no FAIL line.
set -u
[ $# -ge 3 ] || { echo "usage: $0 ENGINE IMAGES NAME [ARGUMENT...]" >&2; exit 2; }
engine=$1 images=$2 name=$3
shift 3
one_processor() { taskset -cp $$ | sed 's/.*: //; s/[-,].*//'; }
here=$(dirname "${BASH_SOURCE[0]}")
read -r _ image smp cpu seconds extra < <(grep -E "^$name[[:space:]]" "$here/guests.cfg") ||
    { echo "guests.cfg has no line $name" >&2; exit 2; }
case $(basename "$engine") in
qemu*) set -- -accel tcg "$@"; extra=${extra//-clock counted,ips=50M/-icount shift=4 -rtc clock=vm} ;;
esac
# "@reboot" in a line: the guest resets the machine and goes on. "@log": Lockstep writes IMAGE.log to its
# stderr. "@one-processor": one of the host for all of the guest's.
end=-no-reboot log= host=
[[ $extra != *@reboot* ]] || { end= extra=${extra//@reboot/}; }
[[ $extra != *@log* ]] || { log=$here/$image.log extra=${extra//@log/}; }
[[ $extra != *@one-processor* ]] || { host="taskset -c $(one_processor)" extra=${extra//@one-processor/}; }
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
output=$(timeout $((seconds * ${TEST_SLOWNESS:-1})) $host "$engine" -kernel "$images/$image.elf" -m 128 -smp "$smp" -cpu "$cpu" \
    -nographic $end -device isa-debug-exit,iobase=0xf4,iosize=4 $extra "$@" </dev/null 2>"$errors")
status=$?
echo "$output"
cat "$errors" >&2
if [ $status -ne 33 ] || ! grep -q '^DONE' <<<"$output" || grep -q '^FAIL' <<<"$output"; then
    echo "$name: exit status $status, expected 33 and no FAIL line"
    exit 1
fi
if [ -n "$log" ] && ! diff "$log" "$errors"; then
    echo "$name: the log (>) is not $log (<)"
    exit 1
fi
