# SPDX-License-Identifier: MIT
"""Runs the list of programs natively or in an emulator, and takes the time from outside: the host's
monotonic clock at the moment each marker line of guest/driver.c arrives on the pipe."""
import os
import re
import selectors
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

from catalogue import PROCESSORS
from host import Failure

MARKER = re.compile(rb"@(?:(I)|(Q)|B (\d+)|E (\d+) (\d+)|O (\d+) ([0-9a-f]{16}) (.*))\s*$")


MEASURED_PRIORITY = 50  # of a run at real time: below the reader's


def take_priority():
    """A start marker that is read late makes a time too short, and the best round would be that one: so
    this process goes before all others, and its children do not inherit that. Returns how far it got."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK,
                              os.sched_param(MEASURED_PRIORITY + 1))
        return "real time"
    except OSError:
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -15)
        return "nice -15"
    except OSError:
        return "normal"


def processor_seconds(pid):
    """What a process, all its threads, has used: the kernel's clock of the process (MAKE_PROCESS_CPUCLOCK
    of linux/posix-timers.h)."""
    return time.clock_gettime(~pid << 3 | 2)


@dataclass
class Measurement:
    seconds: float = 0
    processor: float = 0  # seconds of processor time of the emulator
    status: int = -1
    hash: str = ""
    text: str = ""


@dataclass
class Run:
    boot: float = 0
    memory: float = 0  # MiB beyond guest RAM
    programs: dict = field(default_factory=dict)
    failure: str = ""  # why it ended early


def beyond_ram(pid, ram):
    """Resident MiB of a process less the guest's RAM: without the mappings of the largest one's file, or
    when that is anonymous, without those of a quarter of the RAM or more. By Pss, in which a page that
    is mapped twice (as written and as executed) counts once."""
    mappings = []
    for line in open(f"/proc/{pid}/smaps"):
        words = line.split()
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            low, high = (int(x, 16) for x in words[0].split("-"))
            mappings.append([high - low, words[4], 0])
        elif words[0] == "Pss:":
            mappings[-1][2] = int(words[1])
    largest = max(mappings)
    if largest[1] != "0":
        other = [m for m in mappings if m[1] != largest[1]]
    else:
        other = [m for m in mappings if m[0] < ram / 4]
    return sum(m[2] for m in other) / 1024


class Engine:
    RAM_MIB = 1024

    def __init__(self, name, command, image, emulator, real_time=False):
        self.name, self.command, self.image, self.emulator = name, command, image, emulator
        self.prefix = ["chrt", "-f", str(MEASURED_PRIORITY)] if real_time else []

    def arguments(self, boot):
        """boot: one of catalogue.boot(), or nothing for a boot without programs."""
        programs = self.image.lists.get(boot, "")
        if not self.emulator:
            return [*self.prefix, str(self.image.root / "init"), programs]
        initrd = self.image.initrd if boot else self.image.base
        return [*self.prefix, *self.command, "-m", str(self.RAM_MIB), "-nodefaults", "-display", "none",
                "-serial", "stdio", "-no-reboot", "-smp", str(PROCESSORS.get(boot, 1)),
                "-kernel", str(self.image.kernel), "-initrd", str(initrd),
                "-append", f"console=ttyS0 quiet -- {programs}"]

    def run(self, timeout, boot=""):
        """One boot, or one native run, of the programs that share it; without a name only until init
        runs. timeout: seconds without a marker after which it is given up."""
        arguments = self.arguments(boot)
        with tempfile.TemporaryFile() as errors:
            start = time.monotonic()
            process = subprocess.Popen(arguments, cwd=self.image.root, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=errors)
            reader = Reader(process, start, timeout)
            try:
                reader.read(0 if boot else self.RAM_MIB << 20)
            except Failure as e:
                errors.seek(0)
                said = (bytes(reader.seen[-400:]) + errors.read()[-2000:]).decode(errors="replace")
                reader.run.failure = (f"{self.name}: {e} The command was '{' '.join(arguments)}'; "
                                      f"its last output:\n{said}")
            finally:
                process.kill()
                process.wait()
                process.stdout.close()
        return reader.run


class Reader:
    def __init__(self, process, start, timeout):
        self.process, self.start, self.timeout = process, start, timeout
        self.seen = bytearray()
        self.run = Run()

    def lines(self):
        """(time of arrival, line) for each line."""
        rest = b""
        pipe = self.process.stdout.fileno()
        os.set_blocking(pipe, False)
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                if not selector.select(self.timeout):
                    raise Failure(f"nothing was printed for {self.timeout} seconds.")
                data = os.read(pipe, 65536)
                now = time.monotonic()
                if not data:
                    raise Failure("it ended before the last program did, with status "
                                  f"{self.process.wait(self.timeout)}.")
                self.seen += data
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    yield now, line

    def read(self, ram):
        """Until the last marker, or with a size of RAM until init and its memory; raises Failure when
        there is none."""
        run, began = self.run, {}
        for now, line in self.lines():
            match = MARKER.search(line)
            if not match:
                continue
            init, quit_, begin, end, status, output, value, text = match.groups()
            if init:
                run.boot = now - self.start
                if ram:
                    run.memory = beyond_ram(self.process.pid, ram)
                    return
            elif begin:
                began[int(begin)] = now, processor_seconds(self.process.pid)
            elif end:
                start, used = began[int(end)]
                used = processor_seconds(self.process.pid) - used
                run.programs[int(end)] = Measurement(now - start, used, int(status))
            elif output:
                run.programs[int(output)].hash = value.decode()
                run.programs[int(output)].text = text.decode(errors="replace").strip()
            elif quit_:
                return
