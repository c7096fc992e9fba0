"""Which examples are held out: a stable hash of their name decides, not their number or order."""

from __future__ import annotations

import hashlib


def in_test(key: str, test_fraction: float) -> bool:
    """Whether the example `key` belongs to the test split.

    The answer depends on nothing but the two arguments: adding or removing other examples moves
    none from one split to the other, and a larger fraction only adds to the test split.

    Args:
        key: a name that is the same on every machine, such as `cat/tabby/0012.jpg` or
            `digits/00012`; folders are separated by `/`.
        test_fraction: share of the examples to hold out, between 0 and 1.
    """
    return hash_fraction(key) < test_fraction


def hash_fraction(key: str) -> float:
    """A number in [0, 1) that is spread evenly over different keys."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
    # 53 bits: every value is a float exactly, so 1.0 cannot come out by rounding.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
