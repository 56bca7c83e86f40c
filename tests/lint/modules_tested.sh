#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every .c has a test module: tests/<folder>/<module>_test.c, or the one that tested_elsewhere names.
# Usage: modules_tested.sh ROOT
set -u
cd "$1" || exit 1
list=tests/lint/tested_elsewhere
bad=0
say() { echo "$*"; bad=1; }
while read -r source; do
    folder=${source%%/*} module=$(basename "$source" .c)
    [[ $source == frontend/conform/* ]] && folder=conformance
    [[ $source == machine/library/* ]] && module=library_$module
    elsewhere=$(awk -v s="$source" '$1 == s { print $2 }' $list)
    if [ -e "tests/$folder/${module}_test.c" ]; then
        [ -z "$elsewhere" ] || say "$list: $source has a test module of its own"
    elif [ -z "$elsewhere" ]; then
        say "$source: no tests/$folder/${module}_test.c, and no line in $list"
    fi
done < <(git ls-files -co --exclude-standard 'mem/*.c' 'cpu/*.c' 'jit/*.c' 'hv1/*.c' 'devices/*.c' 'bios/*.c' 'machine/*.c' 'frontend/*.c')
while read -r source test _; do
    [[ -z $source || $source == \#* ]] && continue
    [ -e "$source" ] || say "$list: $source does not exist any more"
    [ -e "tests/$test" ] || say "$list: tests/$test does not exist"
done <$list
[ $bad = 1 ] || echo "every module has a test ($(grep -c '^[a-z]' $list) share another one's)"
exit $bad
