#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs a few instructions of 64-bit guest code, watches what they store, and prints registers.

Usage: hooks.py [PATH_OF_LIBLOCKSTEP.SO]
"""
import ctypes
import sys

u8, u32, u64 = ctypes.c_uint8, ctypes.c_uint32, ctypes.c_uint64

PAGE_TABLES, CODE, MEMORY = 0x1000, 0x10000, 0x100000
MEMORY_WRITE, ALL_VECTORS = 1, -1
END_HALTED, WRITE = 2, 1
RAX, RIP = 0, 16

code = bytes([
    0xB9, 0x01, 0x00, 0x00, 0x00,              #       mov ecx, 1
    0x89, 0xC8,                                # next: mov eax, ecx
    0x0F, 0xAF, 0xC1,                          #       imul eax, ecx
    0x89, 0x04, 0x8D, 0x00, 0x00, 0x02, 0x00,  #       mov [0x20000 + rcx*4], eax
    0xFF, 0xC1,                                #       inc ecx
    0x83, 0xF9, 0x05,                          #       cmp ecx, 5
    0x72, 0xED,                                #       jb next
    0xF4,                                      #       hlt
])


class Error(ctypes.Structure):
    _fields_ = [("text", ctypes.c_char * 512)]


class CpuConfig(ctypes.Structure):
    _fields_ = [("size", u32), ("engine", u32), ("clock", u32), ("reserved", u32),
                ("model", ctypes.c_char_p), ("memory_limit", u64),
                ("instructions_per_second", u64)]


class Exception_(ctypes.Structure):
    _fields_ = [("kind", u32), ("vector", u8), ("has_error_code", ctypes.c_bool),
                ("delivered", ctypes.c_bool), ("reserved", u8), ("error_code", u32), ("cpu", u32),
                ("address", u64), ("dr6", u64), ("rip", u64), ("return_rip", u64)]


class Result(ctypes.Structure):
    _fields_ = [("size", u32), ("end", u32), ("instructions", u64), ("exit_code", u32),
                ("cpu", u32), ("rip", u64), ("exception", Exception_)]


class Access(ctypes.Structure):
    _fields_ = [("kind", u32), ("size", u32), ("linear", u64), ("physical", u64),
                ("bytes", ctypes.POINTER(u8)), ("value", u64)]


MemoryHook = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint, ctypes.POINTER(Access))


class Hooks(ctypes.Structure):
    _fields_ = [("size", u32), ("reserved", u32), ("opaque", ctypes.c_void_p),
                ("instruction", ctypes.c_void_p), ("block", ctypes.c_void_p),
                ("memory", MemoryHook), ("port", ctypes.c_void_p),
                ("exception", ctypes.c_void_p), ("cpuid", ctypes.c_void_p)]


lib = ctypes.CDLL(sys.argv[1] if len(sys.argv) > 1 else "liblockstep.so.0")
lib.lockstep_error.restype = ctypes.c_char_p
lib.lockstep_error.argtypes = [ctypes.c_void_p]
lib.lockstep_destroy.argtypes = [ctypes.c_void_p]


def check(status, message):
    if status:
        sys.exit(message().decode())


def call(name, *arguments):
    """Calls a function on the machine; ends the program with its sentence if it fails."""
    check(getattr(lib, "lockstep_" + name)(machine, *arguments), lambda: lib.lockstep_error(machine))


@MemoryHook
def on_memory(_opaque, _cpu, access):
    if access.contents.kind == WRITE:
        print(f"store {access.contents.value} at {access.contents.linear:#x}")


machine = ctypes.c_void_p()
error = Error()
config = CpuConfig(size=ctypes.sizeof(CpuConfig))
check(lib.lockstep_create_cpu(ctypes.byref(config), ctypes.byref(machine), ctypes.byref(error)),
      lambda: error.text)
hooks = Hooks(size=ctypes.sizeof(Hooks), memory=on_memory)
result = Result(size=ctypes.sizeof(Result))
rax = u64()

call("map_memory", u64(0), u64(MEMORY), u32(MEMORY_WRITE), None)
call("write_physical", u64(CODE), code, ctypes.c_size_t(len(code)))
call("enter_mode", 0, 64, u64(PAGE_TABLES))
call("set_register", 0, RIP, u64(CODE))
call("set_hooks", ctypes.byref(hooks))
call("stop_on_exception", ALL_VECTORS, ctypes.c_bool(True))
call("run", u64(1000), ctypes.byref(result))
call("get_register", 0, RAX, ctypes.byref(rax))
print("halted" if result.end == END_HALTED else "ended",
      f"after {result.instructions} instructions, rax = {rax.value}")
lib.lockstep_destroy(machine)
