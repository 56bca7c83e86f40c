# SPDX-License-Identifier: MIT
# Sourced by demo and the boot tests: fetches Debian's own kernels and builds the BusyBox initramfs.
# Everything lands in $GUESTS (default build/guests) and is kept there.

GUESTS=${GUESTS:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/build/guests}

# guest_deb PACKAGE DIRECTORY: unpacks the newest version of a Debian package. A lock serialises
# tests that want the same one.
guest_deb() {
    local package=$1 directory=$GUESTS/$2
    mkdir -p "$GUESTS"
    (
        flock 9
        [ -e "$directory/.complete" ] && exit 0
        rm -rf "$directory" "$directory.deb"
        mkdir -p "$directory" "$directory.deb"
        cd "$directory.deb"
        apt-get download -qq "$package" 2>/dev/null ||
            { apt-get update -qq && apt-get download -qq "$package"; } || exit 1
        dpkg-deb -x ./*.deb "$directory" && rm -rf "$directory.deb" && touch "$directory/.complete"
    ) 9>"$GUESTS/.lock"
}

# guest_kernel METAPACKAGE: prints the path of the vmlinuz that, say, linux-image-cloud-amd64 means.
guest_kernel() {
    local meta=$1 package
    if ! [ -e "$GUESTS/$meta/.complete" ]; then
        apt-cache depends "$meta" >/dev/null 2>&1 || apt-get update -qq
        package=$(apt-cache depends "$meta" | awk '$1 == "Depends:" { print $2; exit }')
        [ -n "$package" ] || { echo "No Debian package stands behind $meta" >&2; return 1; }
        guest_deb "$package" "$meta" || return 1
    fi
    ls "$GUESTS/$meta"/boot/vmlinuz-* | head -n 1
}

# guest_hammer: prints the path of that initramfs with tests/boot/hammer.c as a static program in it.
guest_hammer() {
    local here root base image=$GUESTS/hammer.cpio.gz
    here=$(dirname "${BASH_SOURCE[0]}")
    base=$(guest_initramfs) || return 1
    (
        flock 9
        [ "$image" -nt "$here/hammer.c" ] && [ "$image" -nt "$here/../guest/lib/locked_forms.h" ] && [ "$image" -nt "$base" ] && exit 0
        root=$(mktemp -d)
        mkdir "$root/bin"
        "${CC:-cc}" -O2 -static -pthread -I "$here/../guest/lib" -o "$root/bin/hammer" "$here/hammer.c" &&
            (cat "$base" && cd "$root" && find . | cpio -o -H newc --quiet | gzip -9) >"$image.new" &&
            mv "$image.new" "$image"
        status=$?
        rm -rf "$root"
        exit $status
    ) 9>"$GUESTS/.lock-hammer" || return 1
    echo "$image"
}

# guest_kexec: prints the path of that initramfs with tests/boot/kexec.c as a static program, Debian's cloud kernel
# and the initramfs itself in it: what is needed to start the same system once more.
guest_kexec() {
    local here root base kernel image=$GUESTS/kexec.cpio.gz
    here=$(dirname "${BASH_SOURCE[0]}")
    base=$(guest_initramfs) && kernel=$(guest_kernel linux-image-cloud-amd64) || return 1
    (
        flock 9
        [ "$image" -nt "$here/kexec.c" ] && [ "$image" -nt "$base" ] && [ "$image" -nt "$kernel" ] && exit 0
        root=$(mktemp -d)
        mkdir "$root/bin" "$root/boot"
        "${CC:-cc}" -O2 -static -o "$root/bin/kexec" "$here/kexec.c" && cp "$kernel" "$root/boot/vmlinuz" &&
            cp "$base" "$root/boot/initramfs" &&
            (cat "$base" && cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$image.new" &&
            mv "$image.new" "$image"
        status=$?
        rm -rf "$root"
        exit $status
    ) 9>"$GUESTS/.lock-kexec" || return 1
    echo "$image"
}

# guest_initramfs: prints the path of an initramfs with BusyBox and tests/boot/init.
guest_initramfs() {
    local here root image=$GUESTS/initramfs.cpio.gz busybox
    here=$(dirname "${BASH_SOURCE[0]}")
    mkdir -p "$GUESTS"
    (
        flock 9
        [ "$image" -nt "$here/init" ] && exit 0
        busybox=$(command -v busybox) || { echo "busybox-static is not installed" >&2; exit 1; }
        root=$(mktemp -d)
        mkdir -p "$root"/{bin,dev,proc,sys,tmp,etc}
        cp "$busybox" "$root/bin/busybox"
        for applet in $("$busybox" --list); do
            [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
        done
        install -m 755 "$here/init" "$root/init"
        (cd "$root" && find . | cpio -o -H newc --quiet | gzip -9) >"$image.new" && mv "$image.new" "$image"
        rm -rf "$root"
    ) 9>"$GUESTS/.lock-initramfs" || return 1
    echo "$image"
}
