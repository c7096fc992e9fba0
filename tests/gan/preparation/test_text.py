from __future__ import annotations

import functools
import random
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan.config import DataConfig
from gan.errors import DataError
from gan.preparation.sources import Source
from gan.preparation.text import (
    BLOCK_CHARACTERS,
    Text,
    choose_alphabet,
    cut_blocks,
    cut_lines,
    text_source,
    with_plain_line_ends,
)

PIECES = st.lists(st.text("ab\r\n", max_size=6), max_size=8)


def source_of(*texts: str, **values: object) -> Source:
    config = DataConfig(name="text", **{"length": 4, "test_fraction": 0.5, **values})
    named = [
        Text(f"{place}.txt", functools.partial(iter, [text])) for place, text in enumerate(texts)
    ]
    return text_source(named, config, "here")


def examples_of(source: Source) -> tuple[list[str], list[str]]:
    """The texts for training and those held out."""
    found: tuple[list[str], list[str]] = ([], [])
    assert source.alphabet is not None
    for batch in source.batches:
        texts = source.alphabet.decode(batch.examples)
        for text, held_out in zip(texts, batch.in_test, strict=True):
            found[int(held_out)].append(text)
    return found


def counted(text: str) -> np.ndarray:
    counts = np.zeros(0x110000, np.int64)
    for character, times in Counter(text).items():
        counts[ord(character)] = times
    return counts


class TestCutting:
    @given(PIECES, st.integers(1, 8))
    def test_lines_do_not_depend_on_the_pieces(self, pieces: list[str], length: int) -> None:
        lines = "".join(pieces).split("\n")
        if not lines[-1]:
            lines.pop()
        assert list(cut_lines(pieces, length)) == [line[:length] for line in lines]

    @given(PIECES, st.integers(1, 8))
    def test_nor_do_blocks(self, pieces: list[str], size: int) -> None:
        text = "".join(pieces)
        expected = [text[start : start + size] for start in range(0, len(text), size)]
        assert list(cut_blocks(pieces, size)) == expected

    @given(PIECES)
    def test_nor_do_line_ends(self, pieces: list[str]) -> None:
        expected = "".join(pieces).replace("\r\n", "\n")
        assert "".join(with_plain_line_ends(pieces)) == expected


class TestAlphabet:
    def test_all_characters_where_there_is_room(self) -> None:
        assert choose_alphabet(counted("banana"), 3, "").values == ("a", "b", "n")

    def test_else_the_most_frequent_and_the_replacement(self) -> None:
        # a 3, n 2, then b and c with 1 each.
        assert choose_alphabet(counted("bananac"), 3, "").values == ("a", "n", "\ufffd")

    def test_ties_by_code_point(self) -> None:
        assert choose_alphabet(counted("dcbadcba"), 3, "").values == ("a", "b", "\ufffd")

    def test_what_is_needed_is_there_at_any_rate(self) -> None:
        assert choose_alphabet(counted("aabb\n"), 2, "\n").values == ("\n", "\ufffd")
        assert choose_alphabet(counted("aab"), 3, "\n").values == ("\n", "a", "b")

    def test_a_replacement_in_the_text_is_itself(self) -> None:
        assert choose_alphabet(counted("ab\ufffd"), 3, "").values == ("a", "b", "\ufffd")
        assert choose_alphabet(counted("aab\ufffd"), 2, "").values == ("a", "\ufffd")

    def test_no_or_one_character(self) -> None:
        with pytest.raises(DataError, match="here holds no text"):
            choose_alphabet(counted(""), 3, "\n", "here")
        with pytest.raises(DataError, match="here has no character but 'a': expected at least two"):
            choose_alphabet(counted("aaa"), 3, "", "here")

    @given(st.text(min_size=1), st.integers(2, 20))
    def test_is_never_larger_than_asked_for(self, text: str, size: int) -> None:
        if set(text) == {"\n"}:
            return
        alphabet = choose_alphabet(counted(text), size, "\n")
        assert "\n" in alphabet.values
        assert 2 <= alphabet.size <= size
        distinct = set(text) | {"\n"}
        assert ("\ufffd" in alphabet.values) == (len(distinct) > size or "\ufffd" in distinct)
        # Whatever the text, it can be written.
        assert len(alphabet.encode(text)) == len(text)


class TestLines:
    def test_are_cut_and_filled(self) -> None:
        train, test = examples_of(source_of("abcdef\nab\r\n\n   \nabcd", "x y"))
        assert sorted(train + test) == ["ab\n\n", "abcd", "abcd", "x y\n"]

    def test_that_come_again_come_in_the_same_split(self) -> None:
        lines = [f"{number:03d}" for number in range(200)]
        train, test = examples_of(source_of("\n".join(lines * 3)))
        assert len(train) + len(test) == 600
        assert 60 < len(set(test)) < 140
        assert not set(train) & set(test)

    def test_also_if_they_only_differ_in_what_was_replaced(self) -> None:
        lines = [f"ab{chr(0x400 + number)}" for number in range(100)]
        source = source_of("\n".join(lines), alphabet=4)
        assert source.alphabet is not None
        assert source.alphabet.values == ("\n", "a", "b", "\ufffd")
        train, test = examples_of(source)
        assert {*train, *test} == {"ab\ufffd\n"}
        assert not train or not test

    def test_long_lines_and_many(self) -> None:
        text = "x" * 100_000 + "\n" + "ab\n" * 5000
        train, test = examples_of(source_of(text))
        assert sorted({*train, *test}) == ["ab\n\n", "xxxx"]
        assert len(train) + len(test) == 5001

    def test_describe_themselves(self) -> None:
        source = source_of("abc", length=7)
        assert (source.kind, source.shape, source.total) == ("text", (7,), None)
        assert source.label_names is None


class TestSliding:
    def test_by_hand(self) -> None:
        train, test = examples_of(source_of("abcdefghi", windows="sliding"))
        # At 0, 2 and 4; at 6 only three characters are left.
        assert train + test == ["abcd", "cdef", "efgh"]

    def test_held_out_passages_are_in_no_training_example(self) -> None:
        # No passage of eight characters comes twice in random text.
        text = "".join(random.Random(0).choices("abcdefghijklmnop", k=60_000))
        length = 32
        train, test = examples_of(source_of(text, windows="sliding", length=length))
        assert len(train) > 500
        assert len(test) > 500
        seen = {example[i : i + 8] for example in train for i in range(length - 7)}
        held = {example[i : i + 8] for example in test for i in range(length - 7)}
        assert not seen & held

    def test_examples_are_passages_of_a_block(self) -> None:
        text = "".join(random.Random(1).choices("abcdefghijklmnop", k=3 * BLOCK_CHARACTERS + 5))
        train, test = examples_of(source_of(text, windows="sliding", length=16))
        assert len(train) + len(test) == 3 * (BLOCK_CHARACTERS // 8 - 1)
        for example in train + test:
            place = text.index(example)
            assert place // BLOCK_CHARACTERS == (place + 15) // BLOCK_CHARACTERS

    def test_texts_do_not_flow_into_each_other(self) -> None:
        train, test = examples_of(source_of("aaaa", "bbbb", "c", windows="sliding"))
        assert sorted(train + test) == ["aaaa", "bbbb"]


@pytest.mark.parametrize("windows", ["lines", "sliding"])
@pytest.mark.parametrize("end", ["\n", ""], ids=["lines", "one line"])
def test_memory_does_not_grow_with_the_text(windows: str, end: str) -> None:
    def peak(pieces: int) -> int:
        text = Text("a.txt", lambda: ("abcdefghijklmno" * 1000 + end for _ in range(pieces)))
        config = DataConfig(name="text", windows=windows)
        tracemalloc.start()
        try:
            for _ in text_source([text], config, "here").batches:
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # what is imported and cached at the first time
    assert peak(200) < 1.2 * peak(20)


def test_a_text_that_changes_between_the_passes() -> None:
    versions = iter(["abc", "abd"])
    source = text_source(
        [Text("a.txt", lambda: [next(versions)])], DataConfig(name="text", length=4), "here"
    )
    with pytest.raises(DataError, match="changed while it was read: the character 'd'"):
        list(source.batches)
