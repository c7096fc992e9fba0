"""Mutators of bytes and of trees of values, which those of formats are made of.

Each takes a random number generator and what is to be changed, and gives the changed one; the same
generator gives the same change.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

Mutator = Callable[[random.Random, bytes], bytes]

# Whole numbers where sums and products of sizes go wrong.
EXTREMES = (
    *(0, 1, -1, 2, 7, 127, 128, 255, 256, 32767, 32768, 65535, 65536),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -(2**31), -(2**63)),
)
DEEP = 3000
TEXTS = (
    *("", " ", ".", "..", "../../etc/passwd", "/etc/passwd", "C:\\x", "a" * 300, "nan", "-inf"),
    *(
        "\x00",
        "\x1b[31mred",
        "\u202egnp.exe",
        "\ud800",
        "é",
        "日本語",
        "\n",
        "%s%n",
        "$(x)",
        "1e999",
    ),
    *("9" * 5000, "True", "None", "{}", "[]", "0x10", "1_000", "2001-02-03", "|O", "<f4", "F32"),
)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_DEEP_MARK = "\ue000deep\ue000"


def flip_bits(rng: random.Random, content: bytes) -> bytes:
    """One to eight bits the other way round."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(rng: random.Random, content: bytes) -> bytes:
    """Only the beginning."""
    return content[: rng.randrange(len(content) + 1)]


def cut_out(rng: random.Random, content: bytes) -> bytes:
    """Without a part."""
    start, length = _range(rng, content)
    return content[:start] + content[start + length :]


def repeat(rng: random.Random, content: bytes) -> bytes:
    """A part of it once more, somewhere."""
    start, length = _range(rng, content)
    place = rng.randrange(len(content) + 1)
    return content[:place] + content[start : start + length] + content[place:]


def insert(rng: random.Random, content: bytes) -> bytes:
    """Random bytes somewhere, or all of the same value."""
    place, length = rng.randrange(len(content) + 1), rng.choice((1, 2, 7, 64, 1024))
    new = rng.randbytes(length) if rng.random() < 0.5 else bytes([rng.randrange(256)]) * length
    return content[:place] + new + content[place:]


def overwrite(rng: random.Random, content: bytes) -> bytes:
    """A part of one value, as where a disk was at fault."""
    start, length = _range(rng, content)
    return content[:start] + bytes([rng.choice((0, 255, 32))]) * length + content[start + length :]


def extreme_integer(rng: random.Random, content: bytes) -> bytes:
    """A number of 1, 2, 4 or 8 bytes, of either order, is an extreme one."""
    size = rng.choice((1, 2, 4, 8))
    if len(content) < size:
        return content
    # Mostly near the beginning, where headers are.
    end = len(content) - size + 1
    place = rng.randrange(min(end, 64)) if rng.random() < 0.5 else rng.randrange(end)
    value = rng.choice(EXTREMES) % (1 << 8 * size)
    new = value.to_bytes(size, rng.choice(("little", "big")))
    return content[:place] + new + content[place + size :]


def extreme_digits(rng: random.Random, content: bytes) -> bytes:
    """A number in digits is another."""
    places = list(_NUMBER.finditer(content[:20_000]))
    if not places:
        return insert(rng, content)
    place = rng.choice(places)
    return content[: place.start()] + digits(rng).encode() + content[place.end() :]


def digits(rng: random.Random) -> str:
    """A number as text that readers stumble over."""
    odd = ("1e999", "-0", "0.5", "1e5", "nan", "NaN", "Infinity", ".inf", "9" * 5000, "007", "1_0")
    return str(rng.choice(EXTREMES)) if rng.random() < 0.6 else rng.choice(odd)


RAW: tuple[Mutator, ...] = (
    flip_bits,
    flip_bits,
    truncate,
    cut_out,
    repeat,
    insert,
    overwrite,
    extreme_integer,
    extreme_integer,
    extreme_digits,
)


def raw(rng: random.Random, content: bytes) -> bytes:
    """One of the above."""
    return rng.choice(RAW)(rng, content)


def odd_value(rng: random.Random) -> Any:
    """A value of JSON that is seldom expected."""
    choices: tuple[Any, ...] = (
        rng.choice(EXTREMES),
        rng.choice(EXTREMES),
        rng.choice(TEXTS),
        rng.choice(TEXTS),
        rng.choice((float("nan"), float("inf"), -0.0, 0.5, 1e308, 1e-320)),
        rng.choice((None, True, False, [], {}, [[]], {"": None})),
        10 ** rng.choice((20, 400)),
        _DEEP_MARK,
        [0] * rng.choice((1, 3, 1000)),
    )
    return rng.choice(choices)


def mutate_tree(rng: random.Random, values: Any) -> Any:
    """A tree of JSON's values with one place in it changed; `values` stays as it is."""
    if isinstance(values, dict) and values and rng.random() < 0.85:
        key = rng.choice(list(values))
        if rng.random() < 0.7:
            return {**values, key: mutate_tree(rng, values[key])}
        kind = rng.randrange(4)
        others = {name: value for name, value in values.items() if name != key}
        if kind == 0:
            return others
        if kind == 1:
            return {**values, rng.choice(TEXTS): odd_value(rng)}
        if kind == 2:
            return {**others, rng.choice(TEXTS): values[key]}
        return {**values, key: values[rng.choice(list(values))]}
    if isinstance(values, list) and values and rng.random() < 0.8:
        place = rng.randrange(len(values))
        if rng.random() < 0.7:
            return [*values[:place], mutate_tree(rng, values[place]), *values[place + 1 :]]
        kind = rng.randrange(3)
        if kind == 0:
            return values[:place] + values[place + 1 :]
        if kind == 1:
            return [*values, values[place]]
        return [*values[:place], odd_value(rng), *values[place:]]
    if isinstance(values, int | float) and not isinstance(values, bool) and rng.random() < 0.6:
        return rng.choice((-values, values + 1, values * 1000, values == 1, [values], str(values)))
    if isinstance(values, str) and values and rng.random() < 0.4:
        return rng.choice((values[:-1], values + values, values.upper(), [values], values + "\x00"))
    return odd_value(rng)


def to_json(values: Any) -> bytes:
    """A tree as JSON, what is nested deep included."""
    text = json.dumps(values, ensure_ascii=True)
    deep = "[" * DEEP + "]" * DEEP
    return text.replace(json.dumps(_DEEP_MARK), deep).encode()


def json_tree(rng: random.Random, content: bytes) -> bytes:
    """JSON whose tree has one to three places changed, or a key twice."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return raw(rng, content)
    for _ in range(rng.randint(1, 3)):
        values = mutate_tree(rng, values)
    text = to_json(values)
    if rng.random() < 0.05 and text.startswith(b'{"'):
        text = text[:-1] + b", " + text[1:]
    return text


def _range(rng: random.Random, content: bytes) -> tuple[int, int]:
    if not content:
        return 0, 0
    length = min(len(content), rng.choice((1, 2, 4, 8, 64, 512)))
    return rng.randrange(len(content) - length + 1), length
