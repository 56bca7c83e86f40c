# SPDX-License-Identifier: MIT
"""Builds what the guest runs: programs, initramfs, kernel. Everything lands in build/bench."""
import os
import shutil
from pathlib import Path

import debian
from catalogue import boot
from host import HERE, SOURCE, apt, call, guest

SOURCES = ["programs", "data", "codec", "control", "fp", "vector", "system", "smc", "smp", "hv1"]
CFLAGS = ["-O2", "-g0", "-fno-math-errno", "-static"]


def install_qemu():
    if not shutil.which("qemu-system-x86_64"):
        print("Installing qemu-system-x86", flush=True)
        apt("update")
        apt("install", "-y", "--no-install-recommends", "qemu-system-x86")


def kernel():
    return Path(guest("guest_kernel linux-image-cloud-amd64", SOURCE / "build/guests").strip())


def compile_programs(root):
    sources = HERE / "guest"
    newest = max(f.stat().st_mtime for f in [*sources.iterdir(), Path(__file__)])

    def compile_one(to, names):
        if not to.exists() or to.stat().st_mtime < newest:
            to.parent.mkdir(parents=True, exist_ok=True)
            call(["gcc", *CFLAGS, "-o", f"{to}.new", *[sources / f"{n}.c" for n in names]])
            os.replace(f"{to}.new", to)

    compile_one(root / "bin/programs", SOURCES)
    compile_one(root / "init", ["driver"])


def archive(root, to, names):
    """A cpio archive of files and whole directories; the kernel wants parents before children."""
    parents = {str(p) for name in names for p in Path(name).parents if str(p) != "."}
    listing = "\n".join(sorted(parents)) + "\n" + call(["find", *names], cwd=root)
    call(["cpio", "-o", "-H", "newc", "--quiet", "-O", to], cwd=root, input=listing)
    return to


class Image:
    """The files of one run of the benchmark: a root directory for the native programs, and an
    initramfs with the same contents for the emulators. lists: boot (catalogue.boot()) to the name
    of its list of programs."""

    def __init__(self, work, programs, scale):
        self.root = work / "root"
        self.kernel = kernel()
        compile_programs(self.root)
        (self.root / "tmp").mkdir(exist_ok=True)
        self.lists = {b: f"list-{b}" for b in sorted({boot(p) for p in programs})}
        for b, file in self.lists.items():
            (self.root / file).write_text("".join(
                f"{i}\t" + "\t".join(p.command(scale)) + "\n"
                for i, p in enumerate(programs) if boot(p) == b))
        self.base = archive(self.root, work / "base.cpio", ["init", "bin/programs", "tmp"])
        self.initrd = work / "initrd.cpio"
        more = archive(self.root, work / "list.cpio",
                       [*self.lists.values(), *debian.prepare(programs, scale, self.root, work)])
        self.initrd.write_bytes(self.base.read_bytes() + more.read_bytes())
