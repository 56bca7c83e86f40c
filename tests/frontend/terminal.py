#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The terminal: raw mode while the guest owns it, the keys behind Ctrl-A, and that every way to end
restores it. Usage: terminal.py LOCKSTEP GUESTS_BIN"""
import os
import pty
import select
import signal
import sys
import tempfile
import termios
import time

LOCKSTEP, GUESTS = sys.argv[1:3]
SCREEN, ECHO, SPIN, POWER_BUTTON = 8, 9, 11, 15
failures = 0


def check(what, truth, detail=""):
    global failures
    if not truth:
        failures += 1
        print(f"FAILED: {what}: {detail!r}")


class Session:
    """Lockstep on a terminal of its own."""

    def __init__(self, guest, *options):
        self.image = tempfile.NamedTemporaryFile()
        data = bytearray(open(GUESTS, "rb").read())
        data[0xFFE0] = guest
        self.image.write(data)
        self.image.flush()
        self.seen = b""
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.pid = os.fork()
        if self.pid == 0:
            os.login_tty(self.slave) if hasattr(os, "login_tty") else self.login()
            os.execv(LOCKSTEP, [LOCKSTEP, "-m", "4M", "-nographic", "-bios", self.image.name,
                                "-device", "isa-debug-exit,iobase=0xf4,iosize=4", *options])

    def login(self):
        os.setsid()
        import fcntl
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
        for fd in range(3):
            os.dup2(self.slave, fd)

    def type(self, text):
        os.write(self.master, text)

    def wait_for(self, text, seconds=10):
        end = time.time() + seconds
        while text not in self.seen and time.time() < end:
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 65536)
        return text in self.seen

    def status(self, seconds=10):
        """The exit status; None if it does not end."""
        end = time.time() + seconds
        while time.time() < end:
            if select.select([self.master], [], [], 0)[0]:
                self.seen += os.read(self.master, 65536)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return None

    def raw(self):
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def restored(self):
        return termios.tcgetattr(self.slave) == self.before

    def close(self):
        os.close(self.master)
        os.close(self.slave)


def ends(what, status, s):
    got = s.status()
    check(f"{what}: status", got == status, got)
    check(f"{what}: terminal restored", s.restored())
    s.close()


# Ctrl-A x, with the guest busy and with Ctrl-C going to the guest.
s = Session(ECHO)
check("the guest starts", s.wait_for(b"R"), s.seen)
check("raw mode", s.raw())
s.type(b"A")
check("a key arrives", s.wait_for(b"RB"), s.seen)
s.type(b"\x03")
check("Ctrl-C belongs to the guest", s.wait_for(b"\x04"), s.seen)
s.type(b"\x01\x01")
check("Ctrl-A Ctrl-A sends one", s.wait_for(b"\x04\x02"), s.seen)
s.type(b"\x01h")
check("help", s.wait_for(b"Ctrl-A x  quit"), s.seen)
s.type(b"\x01?")
time.sleep(0.3)
s.type(b"C")
check("keys arrive after the help", s.wait_for(b"D"), s.seen)
check("still raw", s.raw())
s.type(b"\x01x")
ends("Ctrl-A x", 0, s)

# The two keys may come apart.
s = Session(SPIN)
time.sleep(0.5)
s.type(b"\x01")
time.sleep(0.2)
s.type(b"x")
ends("Ctrl-A, later x", 0, s)

# The guest ends it.
s = Session(ECHO)
s.wait_for(b"R")
s.type(b"!")
ends("the guest's exit", 11, s)

s = Session(SCREEN)
time.sleep(0.5)
s.type(b"\x01s")
check("Ctrl-A s shows the screen", s.wait_for(b"Lockstep says hello"), s.seen)
s.type(b"\x01x")
ends("after the screen", 0, s)

s = Session(POWER_BUTTON)
s.wait_for(b"?")
s.type(b"\x01p")
ends("Ctrl-A p", 0, s)

for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    s = Session(SPIN)
    deadline = time.time() + 5
    while not s.raw() and time.time() < deadline:
        time.sleep(0.02)
    check(f"raw before {sig.name}", s.raw())
    os.kill(s.pid, sig)
    ends(sig.name, 0, s)

# A set-up error after the terminal could have been touched.
s = Session(SPIN, "-kernel", "/nonexistent")
ends("set-up error", 1, s)

# A dead guest: the dump comes after the terminal is back.
s = Session(2, "-no-reboot")
s.wait_for(b"CR0=")
ends("triple fault", 2, s)

print(f"terminal: {failures} failures")
sys.exit(failures != 0)
