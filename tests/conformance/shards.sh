#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Two shards, one after the other, merged, are the campaign that ran whole.
# Usage: shards.sh LOCKSTEP
set -u
lockstep=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0

bad() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# What does not depend on when and where a campaign ran.
facts() {
    python3 - "$1" <<'PYTHON'
import json, sys
r = json.load(open(sys.argv[1]))
for name in ("started", "seconds", "jobs"):
    del r[name]
del r["totals"]["cases_per_second"]
for list_ in (r["differences"], r["crashes"]):
    list_.sort(key=lambda d: (d.get("row", ""), d["seed"]))
# Of many differences of a row some are kept, by each shard.
r["differences"] = sorted({d.get("row", "") for d in r["differences"]})
print(json.dumps(r, indent=1))
PYTHON
}

# compare COMMAND OPTION...
compare() {
    local command=$1 whole merged
    shift
    "$lockstep" conform "$command" "$@" --seed 77 --jobs 2 --json whole.json >whole.out 2>err
    whole=$?
    for shard in 1 2; do
        "$lockstep" conform "$command" "$@" --seed 77 --jobs 1 --shard $shard/2 \
            --json shard-$shard.json >/dev/null 2>>err
    done
    "$lockstep" conform merge -o merged.json --html merged.html shard-2.json shard-1.json >merged.out 2>>err
    merged=$?
    [ $whole = $merged ] || bad "$command: status $merged, whole $whole: $(tail -3 err)"
    facts whole.json >whole.facts
    facts merged.json >merged.facts
    diff -u whole.facts merged.facts >facts.diff || bad "$command: $(head -40 facts.diff)"
    [ "$(python3 -c 'import json; print(json.load(open("merged.json"))["totals"]["cases"])')" -gt 1000 ] ||
        bad "$command: hardly any case has run"
    grep -q '</html>' merged.html || bad "$command: no page"
    grep -E '^(integer|sequences) ' whole.out >whole.table
    grep -E '^(integer|sequences) ' merged.out >merged.table
    [ -s whole.table ] || bad "$command: no table"
    cmp -s whole.table merged.table || bad "$command: tables differ"
}

compare run --insn 'ADD_*' --insn 'HLT' --cases 3000
compare sequence --cases 2000

"$lockstep" conform merge shard-1.json >/dev/null 2>err && bad "half a campaign is accepted"
grep -q 'lacks 1 of 2 shards (2); add' err || bad "the missing shard is not named: $(cat err)"
"$lockstep" conform merge shard-1.json shard-1.json >/dev/null 2>err && bad "a shard counts twice"
grep -q 'are both shard 1 of 2' err || bad "the doubled shard is not named: $(cat err)"

echo "$failures failures"
[ $failures = 0 ]
