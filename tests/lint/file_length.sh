#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# No source file over 1,200 lines (instruction tables exempt), no document over its limit.
set -u
cd "$1" || exit 1
failed=0
check() { # pattern limit
    while IFS= read -r file; do
        lines=$(wc -l <"$file")
        [ "$lines" -le "$2" ] || { echo "$file has $lines lines; the limit is $2"; failed=1; }
    done < <(git ls-files -co --exclude-standard $1)
}
check '*.c *.h *.py *.sh *.asm *.S' 1200
check README.md 150
check ARCHITECTURE.md 250
check CONTRIBUTING.md 120
check '*/README.md' 80
echo "file lengths: checked"
exit $failed
