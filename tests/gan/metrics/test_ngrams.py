import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gan.errors import UserError
from gan.metrics import ngrams
from gan.metrics.ngrams import (
    Ngrams,
    copied,
    count_ngrams,
    distinct,
    jensen_shannon,
    lengths,
    occurrences,
    shuffled,
)

PAD = 0


def symbols(*texts: str) -> np.ndarray:
    """`a` is 1, `b` is 2, …; `.` is the padding."""
    return np.array([[0 if c == "." else ord(c) - 96 for c in text] for text in texts], np.uint8)


def as_dict(found: Ngrams) -> dict[int, int]:
    return dict(zip(found.codes.tolist(), found.counts.tolist(), strict=True))


def text_arrays(size: int, rows: int = 12, length: int = 10) -> st.SearchStrategy[np.ndarray]:
    shape = st.tuples(st.integers(1, rows), st.integers(1, length))
    return shape.flatmap(
        lambda s: hnp.arrays(np.uint8, s, elements=st.integers(0, size - 1))  # type: ignore
    )


def test_counts_by_hand():
    texts = symbols("abab", "bbb.")
    assert as_dict(count_ngrams(texts, 1, 3)) == {0: 1, 1: 2, 2: 5}
    # Base 3: ab is 1·3 + 2, ba 2·3 + 1, bb 2·3 + 2, b. 2·3.
    assert as_dict(count_ngrams(texts, 2, 3)) == {5: 2, 6: 1, 7: 1, 8: 2}
    assert as_dict(count_ngrams(texts, 4, 3)) == {1 * 27 + 2 * 9 + 3 + 2: 1, 2 * 27 + 18 + 6: 1}
    assert as_dict(count_ngrams(texts, 5, 3)) == {}


def test_padding_counts_once():
    texts = symbols("ab..", "....", "a.b.", "abab")
    assert lengths(texts, PAD).tolist() == [3, 1, 4, 4]
    assert lengths(texts, None).tolist() == [4, 4, 4, 4]
    assert as_dict(count_ngrams(texts, 1, 3, PAD)) == {0: 1 + 1 + 2 + 0, 1: 1 + 1 + 2, 2: 1 + 1 + 2}
    # `..` is in the texts, but only beyond an end.
    assert 0 not in as_dict(count_ngrams(texts, 2, 3, PAD))
    assert as_dict(count_ngrams(texts, 2, 3, PAD)) == {5: 3, 6: 2, 3: 1, 2: 1, 7: 1}


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(2, 256), st.integers(1, 6), st.booleans())
def test_counts_are_those_of_a_dictionary(data, size: int, n: int, padded: bool):
    texts = data.draw(text_arrays(size))
    padding = data.draw(st.integers(0, size - 1)) if padded else None
    expected: Counter[int] = Counter()
    for row in texts.tolist():
        end = len(row)
        while padding is not None and end > 1 and row[end - 1] == row[end - 2] == padding:
            end -= 1
        for start in range(end - n + 1):
            code = 0
            for symbol in row[start : start + n]:
                code = code * size + symbol
            expected[code] += 1
    found = count_ngrams(texts, n, size, padding)
    assert as_dict(found) == expected
    assert found.total == expected.total()
    assert (np.diff(found.codes) > 0).all()


def wide_arrays(size: int) -> st.SearchStrategy[np.ndarray]:
    shape = st.tuples(st.integers(1, 8), st.integers(1, 9))
    # Few different ones, from either end, so that n-grams come again.
    symbol = st.sampled_from([0, 1, 2, 255, 256, size - 2, size - 1])
    return shape.flatmap(lambda s: hnp.arrays("<u2", s, elements=symbol))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([257, 3000, 65_536]), st.integers(1, 6), st.booleans())
def test_counts_of_many_symbols_are_those_of_a_dictionary(data, size: int, n: int, padded: bool):
    texts = data.draw(wide_arrays(size))
    padding = size - 1 if padded else None
    expected: Counter[tuple[int, ...]] = Counter()
    for row, end in zip(texts.tolist(), lengths(texts, padding).tolist(), strict=True):
        expected.update(tuple(row[start : start + n]) for start in range(end - n + 1))
    found = count_ngrams(texts, n, size, padding)
    assert found.total == expected.total()
    codes = [
        tuple(np.frombuffer(code.ljust(2 * n, b"\0"), ">u2").tolist())
        if isinstance(code, bytes)
        else tuple(code // size**place % size for place in reversed(range(n)))
        for code in found.codes.tolist()
    ]
    assert codes == sorted(expected)
    assert found.counts.tolist() == [expected[code] for code in codes]
    assert found.codes.dtype == (np.int64 if size**n <= 2**63 else np.dtype(f"S{2 * n}"))


def test_what_would_be_the_same_modulo_a_word_is_told_apart():
    texts = np.array([[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0]], "<u2")
    found = count_ngrams(texts, 6, 65_536)
    assert found.counts.tolist() == [1, 1, 1]
    assert distinct(found) == 1
    assert jensen_shannon(count_ngrams(texts[:1], 6, 65_536), found) == pytest.approx(
        0.5 * (math.log(3 / 2) + (math.log(1 / 2) + 2 * math.log(2)) / 3)
    )


@settings(max_examples=30, deadline=None)
@given(wide_arrays(300), wide_arrays(300), st.integers(1, 6))
def test_bytes_and_numbers_say_the_same(a: np.ndarray, b: np.ndarray, n: int):
    # The same texts in an alphabet so large that codes are bytes.
    numbers = [count_ngrams(texts, n, 300) for texts in (a, b)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngrams, "codes_are_numbers", lambda size, n: False)
        in_bytes = [count_ngrams(texts, n, 300) for texts in (a, b)]
    for one, other in zip(numbers, in_bytes, strict=True):
        assert one.counts.tolist() == other.counts.tolist()
        assert distinct(one) == pytest.approx(distinct(other), nan_ok=True)
    assert jensen_shannon(*numbers) == pytest.approx(jensen_shannon(*in_bytes), nan_ok=True)


def test_copies_of_wide_symbols():
    training = np.array([[256, 1, 2, 3, 4, 5], [0, 1, 2, 3, 512, 0]], "<u2")
    # 0 and 256 have the same low byte.
    texts = np.array([[256, 1, 2, 3, 9, 9], [0, 1, 2, 9, 9, 9], [1, 2, 3, 512, 9, 9]], "<u2")
    assert copied(texts, training, 4).tolist() == [True, False, True]
    assert occurrences(texts, training, 3)[1].tolist() == [1, 0, 0, 0]
    with pytest.raises(UserError, match="texts are uint16, training texts uint8: expected one"):
        copied(texts, training.astype(np.uint8), 4)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    texts = np.random.default_rng(0).integers(0, 5, (100, 9)).astype(np.uint8)
    whole = [count_ngrams(texts, n, 5, 4) for n in (1, 3)]
    copies = copied(texts[:20], texts[10:], 6)
    monkeypatch.setattr(ngrams, "BLOCK", 7)
    monkeypatch.setattr(ngrams, "BLOCK_BYTES", 3 * 6 * 4)  # the runs of three texts
    for n, expected in zip((1, 3), whole, strict=True):
        assert as_dict(count_ngrams(texts, n, 5, 4)) == as_dict(expected)
    assert copied(texts[:20], texts[10:], 6).tolist() == copies.tolist()


def made_of(**counts: int) -> Ngrams:
    codes = [ord(name) for name in counts]
    return Ngrams(np.array(codes), np.array(list(counts.values())))


def test_divergence_by_hand():
    assert jensen_shannon(made_of(a=3, b=1), made_of(c=5)) == pytest.approx(math.log(2))
    assert jensen_shannon(made_of(a=3, b=1), made_of(a=300, b=100)) == 0
    # P = (1, 0), Q = (½, ½), M = (¾, ¼).
    expected = 0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3) + 0.25 * math.log(2)
    assert jensen_shannon(made_of(a=7), made_of(a=2, b=2)) == pytest.approx(expected)
    assert jensen_shannon(made_of(), made_of(a=1)) == math.log(2)
    assert math.isnan(jensen_shannon(made_of(), made_of()))


@settings(max_examples=50, deadline=None)
@given(text_arrays(4), text_arrays(4), st.integers(1, 3))
def test_divergence_is_symmetric_and_bounded(a: np.ndarray, b: np.ndarray, n: int):
    first, second = count_ngrams(a, n, 4), count_ngrams(b, n, 4)
    forth, back = jensen_shannon(first, second), jensen_shannon(second, first)
    if not first.total and not second.total:
        assert math.isnan(forth)
        return
    assert forth == pytest.approx(back, abs=1e-12)
    assert 0 <= forth <= math.log(2) + 1e-12
    assert not first.total or jensen_shannon(first, first) == 0


def test_distinct_share():
    assert distinct(made_of(a=3, b=1)) == 0.5
    assert distinct(count_ngrams(symbols("abc", "abd"), 2, 6)) == 3 / 4
    assert math.isnan(distinct(made_of()))


@settings(max_examples=50, deadline=None)
@given(text_arrays(4), st.integers(0, 2**32))
def test_shuffling_keeps_unigrams_and_lengths(texts: np.ndarray, seed: int):
    mixed = shuffled(texts, PAD, seed)
    assert as_dict(count_ngrams(mixed, 1, 4)) == as_dict(count_ngrams(texts, 1, 4))
    ended = texts[:, -1] == PAD
    # A text without padding at its end may get some.
    assert (lengths(mixed, PAD)[ended] <= lengths(texts, PAD)[ended]).all()
    assert (mixed[ended, -1] == PAD).all()
    assert shuffled(texts, PAD, seed).tolist() == mixed.tolist()


def test_shuffling_loses_the_order_alone():
    rng = np.random.default_rng(0)
    texts = np.sort(rng.integers(1, 20, (400, 30)), axis=1).astype(np.uint8)
    texts[::2, 20:] = PAD
    mixed = shuffled(texts, PAD, 1)
    assert (mixed != texts).any()
    unigrams, bigrams = (
        jensen_shannon(count_ngrams(texts, n, 20, PAD), count_ngrams(mixed, n, 20, PAD))
        for n in (1, 2)
    )
    assert unigrams == 0
    assert bigrams > 0.3
    assert lengths(mixed, PAD).tolist() == lengths(texts, PAD).tolist()


def test_copies_by_hand():
    training = symbols("abcdef", "zzzzzz", "qrst..")
    texts = symbols("abcdef", "xabcdx", "xabcxx", "fedcba", "zzzzzz", "rst...")
    assert copied(texts, training, 6).tolist() == [True, False, False, False, False, False]
    assert copied(texts, training, 4).tolist() == [True, True, False, False, False, True]
    assert copied(texts, training, 3).tolist() == [True, True, True, False, False, True]


def test_the_end_of_a_short_text_is_no_run():
    training = symbols("abcb....", "baab....", "bcbcbcbc")
    texts = symbols("cab.....", "caab....", "cbcbcbca", "abcb....")
    # `ab.` and what is behind it stands in the second, but only `ab.` is text.
    assert copied(texts, training, 4).tolist() == [True, True, True, True]
    assert copied(texts, training, 4, PAD).tolist() == [False, True, True, True]
    assert copied(texts, training, 8).tolist() == [False, False, False, True]


def two_splits(data, size: int, length: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Texts, training texts, and the length of a run that is looked for."""
    texts = st.integers(1, 8).flatmap(
        lambda rows: hnp.arrays(np.uint8, (rows, length), elements=st.integers(0, size - 1))
    )
    return data.draw(texts), data.draw(texts), data.draw(st.integers(1, length))


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(2, 4), st.integers(1, 6))
def test_occurrences_are_those_that_a_loop_finds(data, size: int, length: int):
    texts, training, run = two_splits(data, size, length)
    starts = range(length - run + 1)
    pool = Counter(bytes(row[start : start + run]) for row in training for start in starts)
    expected = [[pool[bytes(row[start : start + run])] for start in starts] for row in texts]
    assert occurrences(texts, training, run).tolist() == expected


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(2, 5), st.integers(1, 8))
def test_copies_are_those_of_a_search_for_substrings(data, size: int, length: int):
    texts, training, run = two_splits(data, size, length)
    known = [bytes(row) for row in training]
    expected = [
        any(
            len(set(part)) > 1 and any(part in other for other in known)
            for part in (bytes(row[start : start + run]) for start in range(length - run + 1))
        )
        for row in texts
    ]
    assert copied(texts, training, run).tolist() == expected


@pytest.mark.parametrize(
    ("texts", "n", "message"),
    [
        (np.zeros((3, 4), np.uint8), 7, "n is 7: expected 1 to 6"),
        (np.zeros((3, 4), np.int64), 2, r"texts are int64 \[3, 4\]: expected uint8 \[N, L\]"),
        (np.zeros((0, 4), np.uint8), 2, r"texts are uint8 \[0, 4\]"),
        (np.zeros((4,), np.uint8), 2, r"texts are uint8 \[4\]"),
        (np.zeros((3, 4), np.uint16), 2, r"texts are uint16 \[3, 4\]: expected uint8 \[N, L\]"),
        (np.full((3, 4), 5, np.uint8), 2, "texts hold the symbol 5: expected below 5"),
    ],
)
def test_what_is_no_text_is_refused(texts: np.ndarray, n: int, message: str):
    with pytest.raises(UserError, match=message):
        count_ngrams(texts, n, 5)


def test_runs_that_no_text_can_have_are_refused():
    texts = np.zeros((3, 4), np.uint8)
    for run, training in ((0, texts), (5, texts), (2, np.zeros((3, 5), np.uint8))):
        with pytest.raises(UserError, match="expected 1 ≤ run ≤ the length of both"):
            copied(texts, training, run)
