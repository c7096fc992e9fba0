from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan.preparation.split import hash_fraction, in_test


def test_values_never_change() -> None:
    # Other values would move the images of existing data from one split to the other.
    # sha256("digits/00012") starts with 9920de835a3fb962.
    assert hash_fraction("digits/00012") == (0x9920DE835A3FB962 >> 11) / 2**53
    assert hash_fraction("digits/00012") == pytest.approx(0.5981577940640354, abs=1e-15)


@given(st.text(), st.floats(0.01, 0.98), st.floats(0, 1))
def test_a_larger_fraction_only_adds(key: str, fraction: float, more: float) -> None:
    if in_test(key, fraction):
        assert in_test(key, min(0.99, fraction + more))


def test_share_is_the_fraction() -> None:
    held_out = sum(in_test(f"images/{index}.png", 0.2) for index in range(20_000))
    assert held_out == pytest.approx(4000, abs=4 * (20_000 * 0.2 * 0.8) ** 0.5)


def test_names_that_are_no_valid_text() -> None:
    assert 0 <= hash_fraction("caf\udce9.png") < 1
