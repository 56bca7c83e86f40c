#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every header compiles on its own, with warnings as errors.
# GUEST_IMAGE is a path that CMake gives to the tests of machine/.
set -u
root=$1 compiler=$2 failed=0 count=0
while IFS= read -r header; do
    count=$((count + 1))
    "$compiler" -std=gnu17 -D_GNU_SOURCE -DGUEST_IMAGE='"image"' -Wall -Wextra -Werror -I"$root" -fsyntax-only -x c \
        -include "$root/$header" /dev/null || { echo "$header does not compile alone"; failed=1; }
done < <(cd "$root" && git ls-files -co --exclude-standard '*.h' | grep -v '^tests/guest/')
echo "headers alone: $count headers"
[ "$count" -gt 20 ] && exit $failed
