# SPDX-License-Identifier: MIT
"""What the benchmark runs, and what the project wants to reach.

The count is the number of rounds for about 0.3 to 0.6 seconds of native time on a server core of
2023, less where QEMU takes several hundred times as long; --quick divides it by QUICK."""
from dataclasses import dataclass, replace

import debian

QUICK = {"integer": 6, "fp": 12, "system": 6, "smp": 6, "hv1": 6}
GROUPS = ("integer", "fp", "system", "smp", "hv1")
# Of the guest. These groups have a boot of their own; the others share one with one processor.
PROCESSORS = {"smp": 2, "hv1": 2}
ENGINES = {"hv1": ("lockstep", "off")}  # off: Lockstep with -hv off


@dataclass(frozen=True)
class Program:
    name: str
    group: str
    count: int
    what: str
    processor_time: bool = False  # of the emulator, instead of time on the wall

    def rounds(self, scale):
        return max(1, round(self.count * scale))

    def command(self, scale):
        """The words of the command, with paths relative to the guest's root."""
        return ["bin/programs", self.name, str(self.rounds(scale))]


# Its time is that of a boot of its own, from the start of the process to the first word of init.
BOOT = Program("boot", "system", 0, "from the emulator's start to the first process of the guest")

PROGRAMS = [
    Program("sort", "integer", 160, "quicksort and the C library's qsort of 16384 numbers"),
    Program("hashmap", "integer", 110, "open addressing, 131072 keys in 4 MiB"),
    Program("sieve", "integer", 440, "primes to 500,000, a byte each"),
    Program("sha256", "integer", 640, "SHA-256 in C, 64 KiB"),
    Program("lz", "integer", 260, "LZ77 with hash chains, 128 KiB there and back"),
    Program("list", "integer", 800, "a linked list of 32768 nodes in random order"),
    Program("recursion", "integer", 10800, "Fibonacci, Ackermann, eight queens"),
    Program("bytecode", "integer", 4000, "a stack machine that jumps through a table"),
    Program("strings", "integer", 1280, "count, split and search 128 KiB of text"),
    *debian.PROGRAMS,
    Program("nbody", "fp", 4480, "five bodies in double"),
    Program("matmul-sse", "fp", 3200, "64x64 floats with SSE"),
    Program("matmul-avx2", "fp", 6400, "64x64 floats with AVX2 and FMA"),
    Program("x87", "fp", 2400, "Mandelbrot set and square roots in 80 bits"),
    Program("fft", "fp", 8000, "1024 points in double, there and back"),
    Program("aes", "fp", 10800, "AES-128 counter mode with AES-NI"),
    Program("sha", "fp", 19200, "SHA-256 with the SHA instructions"),
    BOOT,
    Program("syscall", "system", 1500, "getppid"),
    Program("pipe", "system", 750, "eight bytes to another process and back"),
    Program("fork", "system", 480, "fork, exit and wait"),
    Program("fault", "system", 200, "1024 first touches of a page"),
    Program("fileread", "system", 3200, "1 MiB from the page cache in pieces of 16 KiB"),
    Program("signal", "system", 1280, "raise and return from the handler"),
    Program("mmap", "system", 240, "map, touch, protect, unmap"),
    Program("smc", "system", 5000, "generated code that is rewritten while it runs"),
    Program("alone", "smp", 4000, "pure computation, one thread"),
    Program("both", "smp", 4000, "the same by each of two threads"),
    Program("spin", "smp", 4000, "a spin lock that two threads want"),
    Program("mutex", "smp", 4000, "a mutex that two threads want"),
    Program("futex", "smp", 240, "two threads wake each other"),
    Program("pipe2", "smp", 240, "eight bytes to a process on the other processor and back"),
    Program("fault2", "smp", 60, "1024 first touches of a page, by two threads"),
    Program("mmap2", "smp", 120, "map, touch, protect, unmap, by two threads"),
    Program("rdtsc", "hv1", 10000, "RDTSC alone", True),
    Program("gettime", "hv1", 10000, "clock_gettime", True),
    Program("wake", "hv1", 240, "two threads wake each other, each on an idle processor"),
    Program("ipi", "hv1", 60, "an interrupt to the other processor and its answer, by membarrier"),
    Program("munmap", "hv1", 60, "map, touch, unmap while a thread on the other processor runs"),
    Program("timers", "hv1", 40, "two threads that sleep 200 us at a time", True),
    Program("idle", "hv1", 200, "nothing to do for a tenth of a second", True),
]


@dataclass(frozen=True)
class Target:
    """key: names a value that report.summary() computes. factor: at most, or at least for faster."""
    key: str
    text: str
    faster: bool
    first: float
    aim: float

    def met(self, value, limit):
        return value >= limit if self.faster else value <= limit


TARGETS = [
    Target("integer/native", "integer, Lockstep / native", False, 2.2, 1.6),
    Target("integer/qemu", "integer, times faster than QEMU", True, 2.4, 3.3),
    Target("fp/native", "fp, Lockstep / native", False, 2.0, 1.5),
    Target("fp/qemu", "fp, times faster than QEMU", True, 18, 25),
    Target("boot/qemu", "boot to init, Lockstep / QEMU", False, 0.7, 0.4),
    Target("system/qemu", "other system programs, Lockstep / QEMU", False, 0.7, 0.4),
    Target("smc/qemu", "self-rewriting code, Lockstep / QEMU", False, 0.5, 0.1),
    Target("smp/speedup", "two threads of computation, times one", True, 1.95, 1.95),
    Target("smp/qemu", "smp, times faster than QEMU", True, 2, 3),
    Target("smp/slowest", "slowest smp program, times faster than QEMU", True, 1, 1.5),
    Target("hv1/clock", "clock_gettime / RDTSC, -hv full", False, 1.3, 1.1),
    Target("hv1/idle", "processor time of idle, -hv full / off", False, 1, 0.8),
    Target("hv1/off", "hv1, -hv full / off", False, 0.9, 0.7),
    Target("memory", "MiB beyond guest RAM, Debian booted", False, 150, 80),
]


def boot(program):
    """The name of the boot that a program runs in."""
    return program.group if program.group in PROCESSORS else "one"


def engines(group):
    """What its programs are measured in."""
    return ENGINES.get(group, ("native", "lockstep", "qemu"))


def quick(program):
    return replace(program, count=max(1, program.count // QUICK[program.group]))
