"""Mutators that know a format: what they change gets its lengths and checksums right again.

So the change comes past the checks of the container and to whoever reads what is inside.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import struct
import warnings
import zipfile
import zlib
from typing import Any

from benchmarks.fuzzing.raw import (
    DEEP,
    EXTREMES,
    TEXTS,
    Mutator,
    digits,
    json_tree,
    mutate_tree,
    odd_value,
    raw,
    to_json,
)

# --- safetensors -------------------------------------------------------------------------------

_NOT_FINITE = {
    "F64": struct.pack("<d", float("nan")),
    "F32": struct.pack("<f", float("inf")),
    "F16": b"\x00\x7e",
    "BF16": b"\x80\xff",
}
_DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I8", "U8", "BOOL", "F8_E4M3", "X1", "U16")


def safetensors(rng: random.Random, content: bytes) -> bytes:
    """A safetensors file with its description, its table or its numbers changed."""
    try:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        data = content[8 + length :]
        names = [name for name in header if name != "__metadata__"]
        kind = rng.choice(("description", "description", "description", "table", "numbers", "form"))
        if kind == "description":
            text = header.get("__metadata__", {})
            key = rng.choice(list(text))
            mutator = json_tree if rng.random() < 0.8 else raw
            text[key] = mutator(rng, text[key].encode()).decode("latin-1")
        elif kind == "table":
            header = mutate_tree(rng, header)
        elif kind == "form":
            entry = header[rng.choice(names)]
            if rng.random() < 0.5:
                entry["dtype"] = rng.choice(_DTYPES)
            else:
                entry["shape"] = (
                    entry["shape"][::-1] if rng.random() < 0.5 else [*entry["shape"], 1]
                )
        else:
            data = _other_numbers(rng, header[rng.choice(names)], data)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, struct.error):
        return raw(rng, content)
    text = to_json(header)
    return struct.pack("<Q", len(text)) + text + data


def _other_numbers(rng: random.Random, entry: dict[str, Any], data: bytes) -> bytes:
    start, stop = entry["data_offsets"]
    part = data[start:stop]
    bad = _NOT_FINITE.get(entry["dtype"])
    if bad is None or not part or rng.random() < 0.2:
        part = (raw(rng, part) + bytes(len(part)))[: len(part)]
    else:
        place = rng.randrange(len(part) // len(bad)) * len(bad)
        part = part[:place] + bad + part[place + len(bad) :]
    return data[:start] + part + data[stop:]


# --- npy ---------------------------------------------------------------------------------------

_HEADERS = (
    "1" * 400,
    "(" * 200 + ")" * 200,
    "[" * 1500,
    "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1+2, 2), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 9), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': 7, }",
    "{'descr': '<f4', 'fortran_order': 'no', 'shape': (3L, 2L), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), 'more': 1}",
    "__import__('os').abort()",
    "'\\x00",
    "{'descr': '<f4'",
    "-" * 5000 + "1",
    "None",
)


def npy(rng: random.Random, content: bytes) -> bytes:
    """A `.npy` file with another header, whose length is right, or numbers that are not finite."""
    if len(content) < 10 or content[:6] != b"\x93NUMPY":
        return raw(rng, content)
    length = int.from_bytes(content[8:10], "little")
    header, data = content[10 : 10 + length], content[10 + length :]
    kind = rng.randrange(5)
    if kind == 0:
        header = rng.choice(_HEADERS).encode("latin-1")
    elif kind == 1:
        header = raw(rng, header)
    elif kind == 2:
        places = list(re.finditer(rb"\d+", header))
        if places:
            place = rng.choice(places)
            header = header[: place.start()] + digits(rng).encode() + header[place.end() :]
    elif kind == 3:
        descriptors = (
            "|u1",
            "<f4",
            ">f4",
            "<f8",
            "<i8",
            "|O",
            "|b1",
            "<U3",
            "<M8[D]",
            "<c8",
            "|V4",
        )
        header = re.sub(
            rb"'descr': '[^']*'", f"'descr': {rng.choice(descriptors)!r}".encode(), header
        )
    elif len(data) >= 4:
        place = 4 * rng.randrange(len(data) // 4)
        bad = struct.pack("<f", rng.choice((float("nan"), float("inf"))))
        data = data[:place] + bad + data[place + 4 :]
    # As numpy pads it, so that what follows lies where it did.
    header = header.rstrip()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    version = content[6:8] if rng.random() < 0.95 else rng.randbytes(2)
    return content[:6] + version + struct.pack("<H", len(header) & 0xFFFF) + header + data


# --- zip, and what torch writes into one -------------------------------------------------------

_NAMES = ("../x.png", "/x.png", "C:\\x.png", "a/" * 200 + "x.png", "n" * 300 + ".png", "\x1b.png")


def zipped(rng: random.Random, content: bytes, inside: Mutator | None = None) -> bytes:
    """A zip whose members are others, written anew so that their checksums are right.

    Args:
        rng: of the change.
        content: of the archive.
        inside: what changes a member; None: what knows its name.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
            stored = all(info.compress_type == 0 for info in archive.infolist())
    except Exception:  # of a mutated one: whatever it likes
        return raw(rng, content)
    if not members:
        return raw(rng, content)
    place = rng.randrange(len(members))
    name, data = members[place]
    kind = rng.random()
    if kind < 0.7:
        members[place] = name, (inside or _known(name))(rng, data)
    elif kind < 0.8:
        members[place] = rng.choice(_NAMES), data
    elif kind < 0.87:
        del members[place]
    elif kind < 0.94:
        members.append((name, data))
    else:
        members[place] = name, b""
    out = io.BytesIO()
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a name is there twice
        with zipfile.ZipFile(out, "w", method) as archive:
            for name, data in members:
                archive.writestr(zipfile.ZipInfo(name), data, method)
    changed = out.getvalue()
    return _zip_field(rng, changed) if rng.random() < 0.15 else changed


def _zip_field(rng: random.Random, content: bytes) -> bytes:
    """A field of a header, or of the directory at the end, is extreme."""
    places = [each.start() for each in re.finditer(rb"PK[\x01\x03\x05][\x02\x04\x06]", content)]
    if not places:
        return content
    place = rng.choice(places) + 4 + 2 * rng.randrange(20)
    size = rng.choice((2, 4))
    value = (rng.choice(EXTREMES) % (1 << 8 * size)).to_bytes(size, "little")
    return (content[:place] + value + content[place + size :])[: len(content)]


def checkpoint(rng: random.Random, content: bytes) -> bytes:
    """What `torch.save` wrote, its pickle changed mostly."""
    return zipped(rng, content, pickled)


_OPCODES = b"(.012NKMGJLUXTX)}]tlsuaeqrhjcQiobR\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x8c\x93\x94"


def pickled(rng: random.Random, content: bytes) -> bytes:
    """A pickle with an opcode, a number or a name in it changed; other bytes as `raw`."""
    if not content.startswith(b"\x80") or rng.random() < 0.3:
        return raw(rng, content)
    place = rng.randrange(len(content))
    kind = rng.randrange(4)
    if kind == 0:
        return content[:place] + bytes([rng.choice(_OPCODES)]) + content[place + 1 :]
    if kind == 1:
        return content[:place] + bytes([rng.choice(_OPCODES)]) + content[place:]
    if kind == 2:
        old = rng.choice((b"collections", b"OrderedDict", b"torch", b"_rebuild_tensor_v2", b"step"))
        new = rng.choice((b"os", b"system", b"builtins", b"getattr", b"FloatStorage", b"\xff"))
        return content.replace(old, new.ljust(len(old))[: len(old)])
    return content[:place] + b"]" * DEEP + content[place:]


# --- tar, gzip, png ----------------------------------------------------------------------------

# Of a header: where, and how long.
_FIELDS = ((0, 100), (100, 8), (108, 8), (124, 12), (124, 12), (136, 12), (156, 1), (157, 100))


def tar(rng: random.Random, content: bytes) -> bytes:
    """A tar with a field of a header changed, and that header's checksum right."""
    headers = [
        place
        for place in range(0, len(content) - 511, 512)
        if content[place + 257 : place + 262] == b"ustar"
    ]
    if not headers:
        return raw(rng, content)
    place = rng.choice(headers)
    header = bytearray(content[place : place + 512])
    start, length = rng.choice((*_FIELDS, (257, 8), (345, 155)))
    if start == 156:
        new = rng.choice(b"01234567gxLKSD\x00VNA").to_bytes(1, "big")
    elif length in (8, 12):
        new = _octal(rng, length)
    elif rng.random() < 0.3:
        new = raw(rng, bytes(header[start : start + length]))
    else:
        new = rng.choice((*TEXTS, *_NAMES)).encode("utf-8", "surrogatepass")
    header[start : start + length] = new[:length].ljust(length, b"\x00")
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}".encode() + b"\x00 "
    changed = content[:place] + bytes(header) + content[place + 512 :]
    return changed if rng.random() < 0.9 else raw(rng, changed)


def _octal(rng: random.Random, length: int) -> bytes:
    if rng.random() < 0.5:
        value = rng.choice((*EXTREMES, -512, -1024, 511, 512, 513))
        return (
            (value % (1 << 8 * length)).to_bytes(length, "big")
            if value >= 0
            else ((value + (1 << 8 * length)).to_bytes(length, "big"))
        )
    if rng.random() < 0.5:
        return f"{rng.choice(EXTREMES) % (1 << 33):o}".encode().rjust(length - 1, b"0")
    return rng.choice(
        (b"-1", b"-1000", b"9" * length, b"", b"\x80" + b"\xff" * 11, b"0x10", b"\xff")
    )


def gzipped(rng: random.Random, content: bytes, inside: Mutator = raw) -> bytes:
    """A gzip of something else, its checksum right; or two in a row."""
    try:
        plain = gzip.decompress(content)
    except Exception:  # of a mutated one: whatever it likes
        return raw(rng, content)
    changed = gzip.compress(inside(rng, plain), 1, mtime=0)
    return changed + changed if rng.random() < 0.05 else changed


def tar_gz(rng: random.Random, content: bytes) -> bytes:
    """A compressed tar, changed within."""
    return gzipped(rng, content, tar)


def png(rng: random.Random, content: bytes) -> bytes:
    """A PNG with a chunk changed, its checksum right."""
    if not content.startswith(b"\x89PNG"):
        return raw(rng, content)
    chunks, place = [], 8
    while place + 8 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        if length > len(content):
            return raw(rng, content)
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    if not chunks:
        return raw(rng, content)
    where = rng.randrange(len(chunks))
    name, data = chunks[where]
    kind = rng.randrange(5)
    if kind <= 1:
        chunks[where] = name, raw(rng, data)
    elif kind == 2:
        chunks.insert(where, (name, data))
    elif kind == 3:
        del chunks[where]
    else:
        other = rng.choice((b"tEXt", b"zTXt", b"iCCP", b"PLTE", b"tRNS", b"eXIf", b"acTL", b"IDAT"))
        chunks.insert(min(1, where), (other, rng.randbytes(rng.choice((0, 3, 40)))))
    out = [content[:8]]
    for name, data in chunks:
        out += [
            struct.pack(">I", len(data)),
            name,
            data,
            struct.pack(">I", zlib.crc32(name + data)),
        ]
    return b"".join(out)


# --- yaml --------------------------------------------------------------------------------------

_SCALARS = (
    *("2001-02-03", "2001-02-03T04:05:06Z", "0o777", "0xff", "1_000", ".inf", "-.inf", ".nan", "~"),
    *(
        "1e3",
        "+1",
        "012",
        "yes",
        "No",
        "''",
        '"\\ud800"',
        "!!binary aGk=",
        "!!python/object:os.x y",
    ),
    *(
        "!!set {a, b}",
        "!!omap [a: 1]",
        "!!int x",
        "!!float 1e99999",
        "|\n  a\n  b",
        "&a [*a]",
        "*no",
    ),
    *(
        "{a: 1",
        "[1, 2",
        "? x",
        "<<: *no",
        "- 1",
        "9" * 5000,
        "[" * 500 + "]" * 500,
        "{1: 2}",
        "[1]",
    ),
    *("1:30:00", "\t1", "!<tag:yaml.org,2002:timestamp> 2001-99-99", "a: b: c", "%YAML 9.9", "@x"),
)


def yaml(rng: random.Random, content: bytes) -> bytes:
    """YAML with a value, a key or a line changed, or with aliases of aliases of aliases."""
    lines = content.decode("utf-8", "replace").split("\n")
    place = rng.randrange(len(lines))
    line = lines[place]
    key, colon, _ = line.partition(":")
    kind = rng.randrange(9)
    if kind <= 3 and colon:
        value = rng.choice(_SCALARS) if rng.random() < 0.6 else _plain(rng)
        lines[place] = f"{key}: {value}"
    elif kind == 4 and colon:
        name = rng.choice((*_SCALARS, *TEXTS))
        lines[place] = f"{key[: len(key) - len(key.lstrip())]}{name}{line[len(key) :]}"
    elif kind == 5:
        lines.insert(place, line)
    elif kind == 6:
        del lines[place]
    elif kind == 7:
        return _with_aliases(rng, lines)
    else:
        return raw(rng, content)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _plain(rng: random.Random) -> str:
    value = odd_value(rng)
    return to_json(value).decode("latin-1") if rng.random() < 0.7 else str(value)[:6000]


def _with_aliases(rng: random.Random, lines: list[str]) -> bytes:
    depth = rng.choice((2, 5, 9, 20))
    bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    bomb += [
        f"a{level}: &a{level} [" + ", ".join([f"*a{level - 1}"] * 9) + "]"
        for level in range(1, depth)
    ]
    return "\n".join([*bomb, *lines] if rng.random() < 0.5 else [*lines, *bomb]).encode()


def pair(rng: random.Random, content: bytes) -> bytes:
    """One `key=value` a line, with one of them changed."""
    lines = content.decode("utf-8", "replace").split("\n")
    place = rng.randrange(len(lines))
    key, _, value = lines[place].partition("=")
    kind = rng.randrange(5)
    if kind <= 2:
        value = rng.choice(_SCALARS) if rng.random() < 0.6 else _plain(rng)
    elif kind == 3:
        key = rng.choice((key + ".x", key + ".", "." + key, key.partition(".")[0], *TEXTS[:20]))
    else:
        return raw(rng, content)
    lines[place] = f"{key}={value}".replace("\n", " ")
    return "\n".join(lines).encode("utf-8", "surrogatepass")


# By what the name of a file ends in: the mutators that know it.
BY_ENDING: dict[str, Mutator] = {
    ".safetensors": safetensors,
    ".npy": npy,
    ".zip": zipped,
    ".pt": checkpoint,
    ".tar": tar,
    ".tar.gz": tar_gz,
    ".gz": gzipped,
    ".png": png,
    ".yaml": yaml,
    ".pairs": pair,
    ".json": json_tree,
}


def _known(name: str) -> Mutator:
    return next((mutator for end, mutator in BY_ENDING.items() if name.endswith(end)), raw)


def mutate(rng: random.Random, name: str, content: bytes) -> bytes:
    """The content of the file `name` changed once, twice or three times, seldom more."""
    known = _known(name)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        try:
            content = (known if rng.random() < 0.7 else raw)(rng, content)
        except Exception:  # of what is no longer of the format: whatever it likes
            content = raw(rng, content)
    return content
