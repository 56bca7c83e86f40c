# SPDX-License-Identifier: MIT
"""Builds what the guest runs: programs, initramfs, kernel. Everything lands in build/bench."""
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
SOURCES = ["programs", "data", "codec", "control", "fp", "vector", "system", "smc"]
CFLAGS = ["-O2", "-g0", "-fno-math-errno", "-static"]


class Failure(Exception):
    """Something the user must repair; the text is one sentence for them."""


def call(command, **more):
    try:
        return subprocess.run(command, check=True, text=True, capture_output=True, **more).stdout
    except FileNotFoundError:
        raise Failure(f"{command[0]} is not installed; cmake/install_packages.sh installs it.")
    except subprocess.CalledProcessError as e:
        raise Failure(f"'{' '.join(map(str, command))}' failed:\n{e.stdout}{e.stderr}")


def apt(*words):
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    call(sudo + ["apt-get", "-qq", *words], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


def install_qemu():
    if not shutil.which("qemu-system-x86_64"):
        print("Installing qemu-system-x86", flush=True)
        apt("update")
        apt("install", "-y", "--no-install-recommends", "qemu-system-x86")


def kernel():
    script = f". '{SOURCE}/tests/boot/guest.sh' && guest_kernel linux-image-cloud-amd64"
    return Path(call(["bash", "-c", script]).strip())


def compile_programs(root):
    guest = HERE / "guest"
    newest = max(f.stat().st_mtime for f in [*guest.iterdir(), Path(__file__)])

    def compile_one(to, names):
        if not to.exists() or to.stat().st_mtime < newest:
            to.parent.mkdir(parents=True, exist_ok=True)
            call(["gcc", *CFLAGS, "-o", f"{to}.new", *[guest / f"{n}.c" for n in names]])
            os.replace(f"{to}.new", to)

    compile_one(root / "bin/programs", SOURCES)
    compile_one(root / "init", ["driver"])


def archive(root, to, names):
    listing = call(["find", *names], cwd=root)
    with open(to, "wb") as out:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=listing.encode(),
                       stdout=out, check=True)
    return to


class Image:
    """The files of one run of the benchmark: a root directory for the native programs, and an
    initramfs with the same contents for the emulators."""

    def __init__(self, work, programs, scale):
        self.root = work / "root"
        self.kernel = kernel()
        compile_programs(self.root)
        (self.root / "tmp").mkdir(exist_ok=True)
        lines = [f"{i}\t" + "\t".join(p.command(scale)) for i, p in enumerate(programs)]
        self.list = self.root / "list"
        self.list.write_text("\n".join(lines) + "\n")
        self.base = archive(self.root, work / "base.cpio", ["init", "bin", "tmp"])
        self.initrd = work / "initrd.cpio"
        more = archive(self.root, work / "list.cpio", ["list"])
        self.initrd.write_bytes(self.base.read_bytes() + more.read_bytes())
