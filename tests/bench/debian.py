# SPDX-License-Identifier: MIT
"""Real programs from Debian's packages, their libraries and the files they work on.

They are started through the package's own dynamic linker with relative paths, so that the same files
with the same arguments run on the host and in the guest."""
import glob
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from host import HERE, call, guest

# Where it goes, and the ends of the paths of what is needed of each package. Links become files.
PACKAGES = {
    "libc6": ("lib", ["ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6"]),
    "zlib1g": ("lib", ["libz.so.1"]),
    "libexpat1": ("lib", ["libexpat.so.1"]),
    "libssl3": ("lib", ["libssl.so.3", "libcrypto.so.3"]),
    "libsqlite3-0": ("lib", ["libsqlite3.so.0"]),
    "libreadline8": ("lib", ["libreadline.so.8"]),
    "libtinfo6": ("lib", ["libtinfo.so.6"]),
    "libgmp10": ("lib", ["libgmp.so.10"]),
    "libmpfr6": ("lib", ["libmpfr.so.6"]),
    "libmpc3": ("lib", ["libmpc.so.3"]),
    "libisl23": ("lib", ["libisl.so.23"]),
    "libzstd1": ("lib", ["libzstd.so.1"]),
    "gzip": ("bin", ["gzip"]),
    "openssl": ("bin", ["openssl"]),
    "sqlite3": ("bin", ["sqlite3"]),
    "liblzma5": ("lib", ["liblzma.so.5"]),
    "xz-utils": ("bin", ["bin/xz"]),
    "cpp-12": ("bin", ["cc1"]),
    "python3.11-minimal": ("bin", ["bin/python3.11"]),
    "libpython3.11-minimal": ("usr/lib", ["usr/lib/python3.11"]),
}
PRIME = f"{2 ** 1279 - 1:x}"  # Mersenne's 15th


@dataclass(frozen=True)
class Real:
    """words: the command, with {n} for the number of rounds. make: writes the input file data/NAME-n
    that {input} stands for. prefix: words before the dynamic linker."""
    name: str
    group: str
    count: int
    what: str
    packages: tuple
    words: tuple
    make: object = None
    prefix: tuple = ()
    processor_time: bool = False

    def rounds(self, scale):
        return max(1, round(self.count * scale))

    def input(self, scale):
        return f"data/{self.name}-{self.rounds(scale)}"

    def command(self, scale):
        n = self.rounds(scale)
        words = [w.format(n=n, input=self.input(scale)) for w in self.words]
        if words[-1] == "REPEAT":  # the argument before it, once per round
            words = words[:-1] + [words[-2]] * (n - 1)
        return [*self.prefix, "lib/ld-linux-x86-64.so.2", "--library-path", "lib", *words]


def text(path, n):
    """n times 64 KiB in words of a small vocabulary; compresses about as English does."""
    r = random.Random(1)
    vocabulary = ["".join(r.choices("etaoinshrdlucmfwypvbgkjqxz", weights=range(26, 0, -1),
                                    k=r.randint(2, 9))) for _ in range(3000)]
    weights = [1 / (i + 3) for i in range(3000)]
    words = " ".join(r.choices(vocabulary, weights=weights, k=n * 16384))
    path.write_text(words[:n * 65536])


def c_source(path, n):
    """n functions for the compiler."""
    pattern = """
struct item{k} {{ struct item{k} *next; unsigned long key; int value[8]; }};
static unsigned long mix{k}(unsigned long x) {{ x ^= x >> 29; x *= {a}UL; return x ^ x >> 32; }}
int find{k}(struct item{k} **table, unsigned long key, int *sum)
{{
    int steps = 0;
    for (struct item{k} *i = table[mix{k}(key) % {b}]; i; i = i->next, steps++)
        if (i->key == key) {{
            for (int j = 0; j < 8; j++)
                *sum += i->value[j] * {c} + (j & 1 ? steps : -steps);
            return 1;
        }}
    switch (steps) {{
    case 0: return -1;
    case 1: return *sum > {c} ? 2 : 3;
    case 2: *sum = 0; return 4;
    case 3: return find{k}(table, key + {a}UL, sum);
    default: break;
    }}
    for (int i = 0; i < {b}; i++)
        for (int j = i; j < {b}; j++)
            if (table[i] && table[j] && table[i]->key > table[j]->key) {{
                struct item{k} *swap = table[i];
                table[i] = table[j];
                table[j] = swap;
            }}
    return 0;
}}
"""
    path.with_suffix(".i").write_text("".join(
        pattern.format(k=k, a=2654435761 + 2 * k, b=31 + k, c=3 + k % 17) for k in range(n)))


def sql(path, n):
    """Tables of n times 1000 rows: insert, index, join, group, update, delete."""
    path.write_text(f"""
CREATE TABLE a(id INTEGER PRIMARY KEY, k INTEGER, name TEXT);
CREATE TABLE b(k INTEGER, v REAL);
BEGIN;
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {n * 1000})
  INSERT INTO a SELECT i, i * 7919 % 10007, 'name ' || (i * 31 % 1009) FROM c;
INSERT INTO b SELECT k, id * 0.5 FROM a WHERE id % 3 = 0;
CREATE INDEX a_k ON a(k);
CREATE INDEX a_name ON a(name);
COMMIT;
SELECT count(*), sum(a.id) FROM a JOIN b ON a.k = b.k;
SELECT name, count(*), min(k), max(k) FROM a GROUP BY name ORDER BY 2 DESC, 1 LIMIT 10;
UPDATE a SET name = upper(name) WHERE k % 5 = 0;
DELETE FROM a WHERE name LIKE '%77%';
SELECT count(*), total(k), length(group_concat(name)) FROM a;
""")


def workload(path, n):
    shutil.copy(HERE / "guest/workload.py", path)


LIBC = ("libc6",)
PYTHON = Real("python3", "integer", 250, "pure Python: strings, dictionaries, objects, generators",
     (*LIBC, "zlib1g", "libexpat1", "python3.11-minimal", "libpython3.11-minimal"),
     ("bin/python3.11", "-SsB", "{input}", "{n}"), workload)

CC1_PACKAGES = (*LIBC, "zlib1g", "libgmp10", "libmpfr6", "libmpc3", "libisl23", "libzstd1", "cpp-12")
CC1 = ("bin/cc1", "-quiet", "-fpreprocessed", "-O2", "{input}.i", "-o", "-")

PROGRAMS = [
    Real("gzip", "integer", 160, "gzip -6 of text", (*LIBC, "gzip"),
         ("bin/gzip", "-6nc", "{input}"), text),
    PYTHON,
    Real("gcc", "integer", 34, "cc1 -O2, the compiler proper of GCC 12", CC1_PACKAGES, CC1, c_source),
    Real("openssl-kdf", "integer", 450, "openssl kdf PBKDF2 with BLAKE2b",
         (*LIBC, "libssl3", "openssl"),
         ("bin/openssl", "kdf", "-keylen", "32", "-kdfopt", "digest:BLAKE2B-512", "-kdfopt",
          "pass:lockstep", "-kdfopt", "salt:benchmark", "-kdfopt", "iter:{n}000", "PBKDF2")),
    Real("openssl-prime", "integer", 10, "openssl prime, 1279 bits", (*LIBC, "libssl3", "openssl"),
         ("bin/openssl", "prime", "-hex", PRIME, "REPEAT")),
    Real("sqlite", "integer", 180, "sqlite3 in memory: insert, index, join, group, update",
         (*LIBC, "zlib1g", "libsqlite3-0", "libreadline8", "libtinfo6", "sqlite3"),
         ("bin/sqlite3", "-batch", ":memory:", ".read {input}"), sql),
    Real("gcc2", "smp", 10, "cc1 -O2 twice at the same time", CC1_PACKAGES, CC1, c_source,
         ("bin/programs", "twice")),
    Real("xz2", "smp", 60, "xz -T2 of text", (*LIBC, "liblzma5", "xz-utils"),
         ("bin/xz", "-T2", "-1", "--block-size=256KiB", "-c", "{input}"), text),
]


def install(package, root, work):
    """Fetches and unpacks a package and copies its needed files. Returns them, relative to root."""
    to, ends = PACKAGES[package]
    files = [f"{to}/{Path(end).name}" for end in ends]
    if not all((root / f).exists() for f in files):
        guest(f"guest_deb {package} {package}", work / "packages")
        (root / to).mkdir(parents=True, exist_ok=True)
        for end, file in zip(ends, files):
            source = min(glob.glob(f"{work}/packages/{package}/**/{end}", recursive=True), key=len)
            if Path(source).is_dir():
                shutil.copytree(source, root / file)
            else:
                shutil.copy(source, root / file)
    return files


def prepare(programs, scale, root, work):
    """Packages and inputs of the chosen programs. Returns all files that the guest needs."""
    chosen = [p for p in programs if isinstance(p, Real)]
    files = {f for p in chosen for package in p.packages for f in install(package, root, work)}
    shutil.rmtree(root / "data", ignore_errors=True)
    (root / "data").mkdir()
    for p in chosen:
        if p.make:
            p.make(root / p.input(scale), p.rounds(scale))
    if "bin/python3.11" in files:  # its own modules compiled once, as an installed Python has them
        call([*PYTHON.command(1)[:4], "-Ss", "-c", "pass"], cwd=root,
             env={"PYTHONHOME": "usr", "LC_ALL": "C"})
    return [*sorted(files), "data"] if chosen else []
