#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the small SingleStepTests of this folder, in JSON and MOO (tests/conformance/FORMAT.md).

The results were derived by hand from the manuals; the comment of each says from where. CS is 1000,
SS 2000, DS 3000, ES 4000 and IP 0100 unless a test says otherwise. Usage: make_fixtures.py [DIR]
"""
import gzip
import json
import pathlib
import struct
import sys

ORDER16 = "ax bx cx dx cs ss ds es sp bp si di ip flags".split()
ORDER32 = ("cr0 cr3 eax ebx ecx edx esi edi ebp esp cs ds es fs gs ss eip eflags dr6 dr7").split()
CODE, STACK, DATA, EXTRA = 0x10100, 0x20000, 0x30000, 0x40000


def word(address, value):
    return {address: value & 255, address + 1: value >> 8}


def test16(name, code, before, after, flags=0x0002, memory={}, result={}, exception=None, halt=True):
    """before and after: registers; memory and result: bytes by address."""
    regs = dict(ax=0, bx=0, cx=0, dx=0, cs=0x1000, ss=0x2000, ds=0x3000, es=0x4000, sp=0x0100, bp=0,
                si=0, di=0, ip=0x0100, flags=flags)
    regs.update(before)
    code = bytes.fromhex(code) + (b"\xf4" if halt else b"")
    start = regs["cs"] * 16 + regs["ip"] & 0xfffff
    ram = {start + i: b for i, b in enumerate(code)} | memory
    return finish(name, code, regs, ram, after, result, exception)


def test32(name, code, before, after, eflags=0xfffc0002, memory={}, result={}, exception=None,
           mask=None):
    regs = dict(cr0=0x7ffefff0, cr3=0, eax=0, ebx=0, ecx=0, edx=0, esi=0, edi=0, ebp=0, esp=0x0100,
                cs=0x1000, ds=0x3000, es=0x4000, fs=0, gs=0, ss=0x2000, eip=0x0100, eflags=eflags,
                dr6=0xffff0ff0, dr7=0)
    regs.update(before)
    code = bytes.fromhex(code) + b"\xf4"
    ram = {CODE + i: b for i, b in enumerate(code)} | memory
    return finish(name, code, regs, ram, after, result, exception) | ({"mask": mask} if mask else {})


def finish(name, code, regs, ram, after, result, exception):
    t = {"name": name, "bytes": list(code),
         "initial": {"regs": regs, "ram": [list(x) for x in ram.items()], "queue": []},
         "final": {"regs": after, "ram": [list(x) for x in result.items()], "queue": []},
         "cycles": []}
    if exception:
        t["exception"] = {"number": exception[0], "flag_address": exception[1]}
    return t


def t86(*args, **kwargs):
    return test16(*args, halt=False, **{"flags": 0xf002} | kwargs)


# The 8086: ends behind the instruction. Bits 12-15 of the flags are ones (386 PRM 14.7, item 12).
I8086 = [
    # 7f + 1 = 80: overflow, sign, auxiliary carry; one bit set: odd parity
    t86("add al,bl", "00d8", dict(ax=0x007f, bx=1), dict(ax=0x0080, ip=0x102, flags=0xf892)),
    # 14.7, item 4: SP after the push
    t86("push sp", "54", {}, dict(sp=0xfe, ip=0x101), result=word(STACK + 0xfe, 0x00fe)),
    # item 12
    t86("pushf", "9c", {}, dict(sp=0xfe, ip=0x101), flags=0xf046,
        result=word(STACK + 0xfe, 0xf046)),
    # item 2: the address of the next instruction is pushed; the handler is at 0000:0400
    t86("div bl", "f6f3", dict(ax=0x1234), dict(cs=0, ip=0x400, sp=0xfa),
        memory=word(0, 0x400) | word(2, 0),
        result=word(STACK + 0xfe, 0xf002) | word(STACK + 0xfc, 0x1000) | word(STACK + 0xfa, 0x102)),
    # item 5: a count of 33 shifts all bits out; now it counts as 1
    t86("shl al,cl", "d2e0", dict(ax=0x0081, cx=33), dict(ax=0, ip=0x102, flags=0xf046)),
    # item 18: FFFF:0010 is address 0
    t86("mov al,[0010h]", "a01000", dict(ds=0xffff), dict(ax=0x005a, ip=0x103), memory={0: 0x5a}),
    # item 7: the second byte of a word at FFFF is at 0000
    t86("mov ax,[FFFFh]", "a1ffff", {}, dict(ax=0x2211, ip=0x103),
        memory={DATA + 0xffff: 0x11, DATA: 0x22}),
    # item 3: 0F was POP CS
    t86("pop cs", "0f", {}, dict(cs=0x1234, sp=0x102, ip=0x101), memory=word(STACK + 0x100, 0x1234)),
    # AL = FF + 6 = 05 without a carry into AH; later AX = 00FF + 0106 = 0205
    t86("aaa", "37", dict(ax=0x00ff), dict(ax=0x0105, ip=0x101, flags=0xf013), flags=0xf012),
    # three bytes up, CX to 0
    t86("rep movsb", "f3a4", dict(cx=3, si=0x10, di=0x20), dict(cx=0, si=0x13, di=0x23, ip=0x102),
        memory={DATA + 0x10: 1, DATA + 0x11: 2, DATA + 0x12: 3, EXTRA + 0x20: 9, EXTRA + 0x21: 9,
                EXTRA + 0x22: 9},
        result={EXTRA + 0x20: 1, EXTRA + 0x21: 2, EXTRA + 0x22: 3}),
    # 10 * 10 = 0100: AH is not zero, so CF and OF; the others are undefined
    t86("mul bl", "f6e3", dict(ax=0x0010, bx=0x0010), dict(ax=0x0100, ip=0x102, flags=0xf887),
        flags=0xf086),
    t86("jmp 0104h", "eb02", {}, dict(ip=0x104)),
    t86("ret", "c3", {}, dict(ip=0x4321, sp=0x102), memory=word(STACK + 0x100, 0x4321)),
    # item 11: -128 / 1 is a divide error on the 8086
    t86("idiv bl", "f6fb", dict(ax=0xff80, bx=1), dict(cs=0, ip=0x400, sp=0xfa),
        memory=word(0, 0x400) | word(2, 0),
        result=word(STACK + 0xfe, 0xf002) | word(STACK + 0xfc, 0x1000) | word(STACK + 0xfa, 0x102)),
    # item 9
    t86("lock mov al,bl", "f088d8", dict(ax=1, bx=2), dict(ax=2, ip=0x103)),
    # nothing answers at the port
    t86("in al,dx", "ec", dict(ax=0x1200, dx=0x4242), dict(ax=0x12ff, ip=0x101)),
]

# The 80286: ends behind a HLT, which counts in IP.
I80286 = [
    # ffff + 1 = 0: zero, even parity, auxiliary carry, carry
    test16("add ax,bx", "01d8", dict(ax=0xffff, bx=1), dict(ax=0, ip=0x103, flags=0x0057)),
    # 80286 PRM 9.5: interrupt 13, the address of the instruction
    test16("mov ax,[FFFFh]", "a1ffff", {}, dict(cs=0x5000, ip=0x0011, sp=0xfa),
           memory=word(13 * 4, 0x0010) | word(13 * 4 + 2, 0x5000) | {0x50010: 0xf4},
           result=word(STACK + 0xfe, 0x0002) | word(STACK + 0xfc, 0x1000)
           | word(STACK + 0xfa, 0x0100), exception=(13, STACK + 0xfe)),
    # bits 12-15 cannot be set in real mode
    test16("popf", "9d", {}, dict(flags=0x0246, sp=0x102, ip=0x102),
           memory=word(STACK + 0x100, 0x7246)),
    # the flags of the initial state are those for LOADALL: bits 12-15 are never there
    test16("pushf", "9c", {}, dict(flags=0x0093, sp=0xfe, ip=0x102), flags=0x3093,
           result=word(STACK + 0xfe, 0x0093)),
    # the address of the DIV, unlike the 8086
    test16("div bl", "f6f3", dict(ax=0x1234), dict(cs=0x5000, ip=0x0011, sp=0xfa),
           memory=word(0, 0x0010) | word(2, 0x5000) | {0x50010: 0xf4},
           result=word(STACK + 0xfe, 0x0002) | word(STACK + 0xfc, 0x1000)
           | word(STACK + 0xfa, 0x0100), exception=(0, STACK + 0xfe)),
    test16("lock nop", "f090", {}, dict(ip=0x103)),
    # 66 came with the 80386
    test16("db 66h", "6690", {}, dict(cs=0x5000, ip=0x0011, sp=0xfa),
           memory=word(6 * 4, 0x0010) | word(6 * 4 + 2, 0x5000) | {0x50010: 0xf4},
           result=word(STACK + 0xfe, 0x0002) | word(STACK + 0xfc, 0x1000)
           | word(STACK + 0xfa, 0x0100), exception=(6, STACK + 0xfe)),
    test16("hlt", "", {}, dict(ip=0x101)),
    # INT 21 through the IVT; IF and TF are cleared
    test16("int 21h", "cd21", {}, dict(cs=0x5000, ip=0x0011, sp=0xfa, flags=0x0002), flags=0x0202,
           memory=word(0x84, 0x0010) | word(0x86, 0x5000) | {0x50010: 0xf4},
           result=word(STACK + 0xfe, 0x0202) | word(STACK + 0xfc, 0x1000)
           | word(STACK + 0xfa, 0x0102), exception=(0x21, STACK + 0xfe)),
]

# The 80386: bits of EFLAGS, CR0 and DR7 that do not exist are dumped as ones or zeros.
I80386 = [
    # 7fffffff + 1: overflow, sign, auxiliary carry, even parity of the low byte
    test32("add eax,ebx", "6601d8", dict(eax=0x7fffffff, ebx=1),
           dict(eax=0x80000000, eip=0x104, eflags=0xfffc0896)),
    test32("mov ax,[ebx]", "678b03", dict(eax=0xaaaaaaaa, ebx=0x1234),
           dict(eax=0xaaaa5678, eip=0x104), memory=word(DATA + 0x1234, 0x5678)),
    test32("movzx eax,bl", "660fb6c3", dict(eax=0xffffffff, ebx=0x80), dict(eax=0x80, eip=0x105)),
    # 1234 << 4, filled with 8: 2348; CF is the last bit out, 1; 48 has two bits: even parity
    test32("shld ax,bx,4", "0fa4d804", dict(eax=0x1234, ebx=0x8765),
           dict(eax=0x2348, eip=0x105, eflags=0xfffc0007), eflags=0xfffc0002),
    # ZF is set; the destination is undefined, and so are the other flags
    test32("bsf ax,bx", "0fbcc3", dict(eax=0x1111, ebx=0), dict(eax=0x9999, eip=0x104,
           eflags=0xfffc0846), mask=dict(eax=0xffff0000)),
    test32("mov tr6,eax", "0f26f0", dict(eax=0x12345000), dict(eip=0x104)),
    # exception 6; the flags are pushed as they are
    test32("ud2", "0f0b", {}, dict(cs=0x5000, eip=0x0011, esp=0xfa),
           memory=word(6 * 4, 0x0010) | word(6 * 4 + 2, 0x5000) | {0x50010: 0xf4},
           result=word(STACK + 0xfe, 0x0002) | word(STACK + 0xfc, 0x1000)
           | word(STACK + 0xfa, 0x0100), exception=(6, STACK + 0xfe)),
    # the value before the push
    test32("push sp", "54", {}, dict(esp=0xfe, eip=0x102), result=word(STACK + 0xfe, 0x0100)),
]


def chunk(kind, body):
    return kind.encode() + struct.pack("<I", len(body)) + body


def registers(kind, regs, order, form):
    bits = sum(1 << i for i, r in enumerate(order) if r in regs)
    return chunk(kind, struct.pack("<" + form, bits)
                 + b"".join(struct.pack("<" + form, regs[r]) for r in order if r in regs))


def state(s, order, mask=None):
    form, kind, masks = ("I", "RG32", "RM32") if len(order) == 20 else ("H", "REGS", "RMSK")
    body = registers(kind, s["regs"], order, form)
    if mask:
        body += registers(masks, mask, order, form)
    ram = b"".join(struct.pack("<IB", *entry) for entry in s["ram"])
    body += chunk("RAM ", struct.pack("<I", len(s["ram"])) + ram)
    return body + chunk("QUEU", struct.pack("<I", 0))


def moo(cpu, tests, minor):
    order = ORDER32 if "eax" in tests[0]["initial"]["regs"] else ORDER16
    out = chunk("MOO ", struct.pack("<BBHI", 1, minor, 0, len(tests)) + cpu.ljust(4).encode())
    if minor:
        out += chunk("META", struct.pack("<BBBI8sIQBBBB", 1, 0, 0, 0xffffffff, b"mixed   ",
                                         len(tests), 0, 0, 0, 0, 0))
    for i, t in enumerate(tests):
        counted = lambda b: struct.pack("<I", len(b)) + b
        body = chunk("NAME", counted(t["name"].encode())) + chunk("BYTS", counted(bytes(t["bytes"])))
        body += chunk("INIT", state(t["initial"], order))
        body += chunk("FINA", state(t["final"], order, t.get("mask")))
        body += chunk("CYCL", struct.pack("<I", 0))
        if "exception" in t:
            e = t["exception"]
            body += chunk("EXCP", struct.pack("<BI", e["number"], e["flag_address"]))
        body += chunk("HASH", bytes([i] * 20))
        out += chunk("TEST", struct.pack("<I", i) + body)
    return out


def write_json(path, tests):
    lines = []
    for i, t in enumerate(tests):
        t = {k: v for k, v in t.items() if k != "mask"} | {"hash": "%02x" % i * 20, "idx": i}
        lines.append("{" + ",\n ".join(json.dumps(k) + ": " + json.dumps(v) for k, v in t.items()) + "}")
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
for name, cpu, tests, minor in (("8086", "8086", I8086, 0), ("80286", "C286", I80286, 1),
                                ("80386", "386E", I80386, 1)):
    (folder / name).mkdir(exist_ok=True)
    write_json(folder / name / "tests.json", tests)
    (folder / name / "tests.MOO").write_bytes(moo(cpu, tests, minor))
    with gzip.GzipFile(folder / name / "tests.MOO.gz", "wb", mtime=0) as f:
        f.write(moo(cpu, tests, minor))
(folder / "8086" / "metadata.json").write_text(json.dumps(
    {"cpu": "8086", "version": "fixture", "opcodes": {
        "37": {"status": "normal", "flags": "o..sz.p.", "flags-mask": 0xf73b},
        "F6": {"reg": {"4": {"status": "normal", "flags": "...szap.", "flags-mask": 0xff2b}}},
        "D2": {"reg": {"4": {"status": "normal", "flags": "o....a..", "flags-mask": 0xf7ef}}}}},
    indent=1) + "\n")
