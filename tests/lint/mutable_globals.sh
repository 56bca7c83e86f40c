#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# No mutable globals or file statics: nothing in .data or .bss but what globals.allow lists.
# Usage: mutable_globals.sh ROOT LIBRARY...
set -u
root=$1; shift
allow=$root/tests/lint/globals.allow
# Sanitizers and coverage add symbols of their own; they start with __ or are local labels.
# Constants that hold addresses lie in .data.rel.ro, which the loader makes read-only.
found=$(objdump -t "$@" | awk 'NF > 4 && $(NF-2) ~ /^\.(data|bss|tdata|tbss)/ && $(NF-2) !~ /^\.data\.rel\.ro/ &&
    $(NF-1) !~ /^0+$/ { print $NF }' | grep -v '^__\|^\.L' | sed 's/\.[0-9]*$//' | sort -u)
bad=0
for symbol in $found; do
    grep -q "^$symbol " "$allow" || { echo "mutable global: $symbol"; bad=1; }
done
while read -r symbol reason; do
    [[ -z $symbol || $symbol == \#* ]] && continue
    [ -n "$reason" ] || { echo "globals.allow: $symbol has no reason"; bad=1; }
    grep -qx "$symbol" <<<"$found" || { echo "globals.allow: $symbol does not exist any more"; bad=1; }
done <"$allow"
echo "mutable globals: $(wc -w <<<"$found") symbols, all listed: $((1 - bad))"
exit $bad
