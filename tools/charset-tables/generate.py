#!/usr/bin/env python3
"""Writes the tables of crates/streamer-core/src/source/mysql/charset from real servers.

    generate.py --mysql 127.0.0.1:3306 --mariadb 127.0.0.1:3307 [--check]

Asks MySQL (9.x) for `CONVERT(x USING utf8mb4)` of every byte and every pair (and of the triples of ujis and eucjpms,
the quadruples of gb18030), and both servers for their collations. MariaDB must agree on every mapping: where it maps
what MySQL does not, its mapping is taken; where the two contradict each other, the difference is printed, and MySQL's
is taken. Needs the `mariadb` client on PATH and root without a password. `--check` writes nothing and fails where a
file would change.

Format of `tables/NAME.bin`, all numbers little-endian:
    256 u16     what a byte alone is: a code unit, 0xFFFF ill-formed, 0xFFFE well-formed without a mapping,
                    0xD800 the first byte of a longer character
    and for sets of more than one byte, planes, each
    4 u8        first and last lead byte, first and last trail byte
    u16 ...     lead by lead what a pair is: a code unit, 0xFFFF ill-formed, 0xFFFE well-formed without a mapping
The second plane of ujis and eucjpms stands behind the byte 0x8F. `tables/gb18030-ranges.bin` holds the four-byte
characters as runs of (u32 first linear number, u32 first code point, u32 length).
"""

import argparse
import pathlib
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2] / "crates/streamer-core/src/source/mysql/charset"
ALGORITHMIC = {"binary", "utf8mb3", "utf8mb4", "ucs2", "utf16", "utf16le", "utf32"}
ILL, UNMAPPED, LEAD = 0xFFFF, 0xFFFE, 0xD800

NUMBERS = "WITH RECURSIVE n AS (SELECT 0 i UNION ALL SELECT i + 1 FROM n WHERE i < 255)"


def ask(server, statement):
    host, port = server.rsplit(":", 1)
    command = ["mariadb", "--no-defaults", "-h", host, "-P", port, "-uroot", "-N", "-B",
               "--default-character-set=utf8mb4", "-e", statement]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line.split("\t") for line in out.splitlines()]


def byte_of(name):
    return f"LPAD(HEX({name}.i), 2, '0')"


def mapping(server, charset, source):
    """{bytes: code point or None for unmapped}, of what is one well-formed character."""
    cast = f"CAST(b AS CHAR CHARACTER SET {charset})"
    found = {}
    statement = (f"{NUMBERS} SELECT HEX(b), HEX(CONVERT({cast} USING utf8mb4)), CHAR_LENGTH({cast}) "
                 f"FROM ({source}) t")
    for raw, text, length in ask(server, statement):
        # An empty text is a first byte that the server counts as a character of its own.
        if length != "1" or text in ("", "NULL"):
            continue
        decoded = bytes.fromhex(text).decode("utf-8", "surrogatepass")
        assert len(decoded) == 1, (charset, raw, text)
        raw = bytes.fromhex(raw)
        found[raw] = None if decoded == "?" and raw != b"?" else ord(decoded)
    return found


def singles(server, charset):
    return mapping(server, charset, f"SELECT UNHEX({byte_of('x')}) b FROM n x")


def pairs(server, charset, prefix=""):
    source = (f"SELECT UNHEX(CONCAT('{prefix}', {byte_of('x')}, {byte_of('y')})) b "
              "FROM n x, n y WHERE x.i >= 128")
    return mapping(server, charset, source)


def merged(charset, ours, theirs):
    """MySQL's mapping, completed by MariaDB's."""
    if theirs is None:
        return ours
    result = dict(ours)
    for raw in ours:
        mine, other = ours[raw], theirs.get(raw)
        if mine is None and other is not None:
            print(f"{charset} {raw.hex()}: only MariaDB maps it, to U+{other:04X}", file=sys.stderr)
            result[raw] = other
        elif mine is not None and other is not None and mine != other:
            print(f"{charset} {raw.hex()}: MySQL U+{mine:04X}, MariaDB U+{other:04X}", file=sys.stderr)
        elif mine is not None and other is None:
            print(f"{charset} {raw.hex()}: only MySQL maps it, to U+{mine:04X}", file=sys.stderr)
    return result


def unit(value):
    if value is None:
        return UNMAPPED
    assert value < UNMAPPED and not 0xD800 <= value < 0xE000, hex(value)
    return value


def plane(found):
    """Header and units of pairs; the keys are the last two bytes."""
    leads = sorted({raw[0] for raw in found})
    trails = sorted({raw[1] for raw in found})
    first, last, low, high = leads[0], leads[-1], trails[0], trails[-1]
    out = bytearray([first, last, low, high])
    for lead in range(first, last + 1):
        for trail in range(low, high + 1):
            raw = bytes([lead, trail])
            out += struct.pack("<H", unit(found[raw]) if raw in found else ILL)
    return bytes(out), set(leads)


def table(charset, mysql, mariadb):
    both = lambda question: merged(charset, question(mysql), question(mariadb) if mariadb else None)
    one = both(lambda server: singles(server, charset))
    two = {raw: value for raw, value in both(lambda server: pairs(server, charset)).items()
           if raw[:1] not in one}
    planes, leads = b"", set()
    if two:
        planes, leads = plane(two)
    if charset in ("ujis", "eucjpms"):
        three = both(lambda server: {raw[1:]: value for raw, value in pairs(server, charset, "8F").items()})
        second, _ = plane(three)
        planes += second
        leads.add(0x8F)
    if charset == "gb18030":
        # The first bytes of four-byte characters are those of pairs.
        assert leads == set(range(0x81, 0xFF)), leads
    out = bytearray()
    for byte in range(256):
        raw = bytes([byte])
        out += struct.pack("<H", unit(one[raw]) if raw in one else LEAD if byte in leads else ILL)
    return bytes(out) + planes


def gb18030_ranges(mysql):
    runs = []
    for lead in [*range(0x81, 0x85), *range(0x90, 0xE4)]:
        source = (f"SELECT UNHEX(CONCAT('{lead:02X}', {byte_of('x')}, {byte_of('y')}, {byte_of('z')})) b "
                  "FROM n x, n y, n z WHERE x.i BETWEEN 48 AND 57 AND y.i BETWEEN 129 AND 254 "
                  "AND z.i BETWEEN 48 AND 57")
        found = mapping(mysql, "gb18030", source)
        for raw, code in sorted(found.items()):
            if code is None:
                continue
            a, b, c, d = raw
            linear = (((a - 0x81) * 10 + b - 0x30) * 126 + c - 0x81) * 10 + d - 0x30
            last = runs[-1] if runs else None
            if last and last[0] + last[2] == linear and last[1] + last[2] == code:
                last[2] += 1
            else:
                runs.append([linear, code, 1])
    return b"".join(struct.pack("<III", *run) for run in runs)


def collations(mysql, mariadb):
    found = {}
    questions = [(mysql, "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS")]
    if mariadb:
        # Since 10.10, COLLATIONS has no number for collations that several character sets share.
        questions.append((mariadb, "SELECT ID, CHARACTER_SET_NAME FROM "
                                   "information_schema.COLLATION_CHARACTER_SET_APPLICABILITY"))
    for server, question in questions:
        for number, name in ask(server, question):
            assert found.setdefault(int(number), name) == name, (number, name, found[int(number)])
    runs = []
    for number, name in sorted(found.items()):
        if runs and runs[-1][1] + 1 == number and runs[-1][2] == name:
            runs[-1][1] = number
        else:
            runs.append([number, number, name])
    lines = ["//! Which character set a collation belongs to, by its number, for both servers.",
             "//!",
             "//! Generated by `tools/charset-tables/generate.py`.",
             "",
             "/// First and last number of a run of collations, and their character set; ascending.",
             "pub(super) const COLLATIONS: &[(u16, u16, &str)] = &["]
    lines += [f'    ({first}, {last}, "{name}"),' for first, last, name in runs]
    return "\n".join([*lines, "];", ""]).encode()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mysql", required=True)
    parser.add_argument("--mariadb")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    names = {server: {row[0] for row in ask(server, "SHOW CHARACTER SET")}
             for server in (options.mysql, options.mariadb) if server}
    files = {"collations.rs": collations(options.mysql, options.mariadb)}
    for charset in sorted(names[options.mysql] - ALGORITHMIC):
        other = options.mariadb if charset in names.get(options.mariadb, ()) else None
        files[f"tables/{charset}.bin"] = table(charset, options.mysql, other)
    files["tables/gb18030-ranges.bin"] = gb18030_ranges(options.mysql)
    changed = [name for name, content in files.items()
               if not (ROOT / name).exists() or (ROOT / name).read_bytes() != content]
    if options.check:
        sys.exit(f"would change: {', '.join(changed)}" if changed else 0)
    (ROOT / "tables").mkdir(exist_ok=True)
    for name in changed:
        (ROOT / name).write_bytes(files[name])


if __name__ == "__main__":
    main()
