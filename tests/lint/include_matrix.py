#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the include matrix of the design: which top-level folder may include which (ARCHITECTURE.md)."""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1])
CONTRACTS = {"devices/device.h", "devices/irq.h", "devices/clock.h", "devices/chardev.h"}
ALLOWED = {
    "mem": {"mem"},
    "cpu": {"mem", "cpu"},
    "jit": {"mem", "cpu", "jit"},
    "hv1": {"mem", "cpu", "hv1", "contracts"},
    "devices": {"mem", "devices"},
    "bios": {"mem", "bios", "contracts"},
    "machine": {"mem", "cpu", "jit", "hv1", "devices", "bios", "machine", "include"},
    "frontend": {"frontend", "machine", "include", "base", "contracts", "backends"},
    "include": set(),
}
# A tool that tests the instruction table reads it; what it runs goes through the public library.
ALSO = {"frontend/conform/": {"cpu", "include", "jit"}}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')

violations = []
for folder, allowed in ALLOWED.items():
    for path in sorted((ROOT / folder).rglob("*")):
        if path.suffix not in (".c", ".h", ".def"):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            target = match.group(1)
            where = f"{path.relative_to(ROOT)}:{number}"
            if not (ROOT / target).exists():
                violations.append(f'{where}: "{target}" is not a path from the repository root')
                continue
            top = target.split("/")[0]
            if top in allowed:
                continue
            if any(str(path.relative_to(ROOT)).startswith(part) and top in also
                   for part, also in ALSO.items()):
                continue
            if "contracts" in allowed and target in CONTRACTS:
                continue
            if "backends" in allowed and target.startswith("devices/backend/"):
                continue
            if "base" in allowed and target.startswith("mem/base/"):
                continue
            violations.append(f"{where}: {folder} may not include {target}")
print("\n".join(violations))
print(f"include matrix: {len(violations)} violations")
sys.exit(bool(violations))
