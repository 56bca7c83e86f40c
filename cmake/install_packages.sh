#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs the Debian packages that building and testing need; does nothing when all are there.
# Usage: install_packages.sh build|test
set -eu

build=(gcc libc6-dev cmake ninja-build pkg-config nasm zlib1g-dev libxxhash-dev libcapstone-dev libjansson-dev seabios busybox-static cpio)
test=(clang clang-format libclang-rt-14-dev check libsubunit-dev acpica-tools python3
    binutils git)

wanted=("${build[@]}")
[ "${1:-build}" = test ] && wanted+=("${test[@]}")
missing=()
for package in "${wanted[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "Installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq
    $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
