#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The benchmark measures two programs on one processor, one on two, and two with and without Hv#1, and writes its files; wrong use
# gets one sentence and status 1.
# Usage: smoke.sh LOCKSTEP
set -u
run=$(dirname "$0")/run
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; cat "$work"/out* "$work"/err* 2>/dev/null; exit 1; }

python3 "$run" --quick --scale 0.3 --repeat 1 --no-qemu --lockstep "$1" --only sieve syscall both gettime timers \
    --json "$work/json" --svg "$work/svg" >"$work/out" 2>"$work/err" || fail "status $?"
for name in sieve syscall both; do
    grep -qE "^$name +0\.[0-9]{4} +[0-9]+\.[0-9]{4} +- +[0-9.]+ +-" "$work/out" || fail "no times of $name"
done
grep -qE '^gettime +[0-9]+\.[0-9]{4} +[0-9]+\.[0-9]{4} +[0-9.]+ .* processor time$' "$work/out" || fail "no times of gettime"
grep -qE '^timers +[0-9]+\.[0-9]{4} +[0-9]+\.[0-9]{4} +[0-9.]+ .* processor time$' "$work/out" || fail "no times of timers"
python3 - "$work" <<'PYTHON' || fail "the files are not as README.md says"
import json, sys, xml.dom.minidom
data = json.load(open(f"{sys.argv[1]}/json"))
assert [p["name"] for p in data["programs"]] == ["sieve", "syscall", "both", "gettime", "timers"]
for p in data["programs"]:
    assert p["equal"] and len(set(p["checksums"].values())) == 1 and len(p["checksums"]) == 2, p
    assert len(p["seconds"]["lockstep"]) == 1, p
    if p["group"] == "hv1":
        assert 0 < p["best"]["off"] < 200 and 0 < p["best"]["lockstep"] < 200 and p["full_to_off"] > 0, p
    else:
        assert 0 < p["best"]["native"] < p["best"]["lockstep"] < 200 and p["full_to_off"] is None, p
assert len(data["environment"]["load_average"]) == 3
assert data["means"]["integer"]["lockstep_to_native"] > 1
xml.dom.minidom.parse(f"{sys.argv[1]}/svg")
PYTHON

refused() { # SENTENCE OPTION...
    local sentence=$1
    shift
    python3 "$run" --no-qemu "$@" >"$work/out" 2>"$work/err"
    [ $? = 1 ] || fail "status of $*"
    [ "$(wc -l <"$work/err")" = 1 ] && grep -q -- "$sentence" "$work/err" || fail "message of $*"
}
refused "there is no such program" --lockstep "$1" --only nonsense
refused "leave no program" --lockstep "$1" --only sieve --group fp
refused "is not a program" --lockstep /nonexistent
refused "at least 1" --lockstep "$1" --repeat 0
refused "greater than 0" --lockstep "$1" --scale 0

# An emulator that ends too early is a failure with its last words, not a hang or a good result.
printf '#!/bin/sh\necho dying; exit 3\n' >"$work/broken"
chmod +x "$work/broken"
python3 "$run" --no-qemu --no-native --repeat 1 --lockstep "$work/broken" --only sieve >"$work/out" 2>"$work/err"
[ $? = 1 ] || fail "status with a broken emulator"
grep -q 'ended before the last program did, with status 3' "$work/err" && grep -q dying "$work/err" ||
    fail "message with a broken emulator"
echo "PASSED"
