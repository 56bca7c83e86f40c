#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# clang-format has nothing to change. Fails, never skips, when the tool is missing.
set -u
cd "$1" || exit 1
version=$(clang-format --version) || exit 1
grep -q 'version 14\.' <<<"$version" || { echo "clang-format 14 is needed, found: $version"; exit 1; }
git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format --dry-run -Werror
