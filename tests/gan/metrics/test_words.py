import math
from collections import Counter

import pytest

from gan.metrics.words import count_words, known_share


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the end of it all", ["end", "of", "it"]),  # the first and the last may be cut
        (" the end. ", ["the", "end"]),
        ("\nthe end\n", ["the", "end"]),
        ("a-b-c", ["b"]),
        (" x_1 = 'naïve' ", ["x_1", "naïve"]),
        ("word", []),
        ("", []),
    ],
)
def test_whole_words(text: str, words: list[str]):
    assert count_words([text]) == Counter(words)


def test_words_are_counted_over_all_texts():
    assert count_words([" a b ", " b c ", " b "]) == {"a": 1, "b": 3, "c": 1}


def test_the_share_of_known_words_is_of_occurrences():
    words = count_words([" a b ", " b c ", " b "])
    assert known_share(words, {"b"}) == 3 / 5
    assert known_share(words, {"b", "c", "z"}) == 4 / 5
    assert known_share(words, set()) == 0
    assert math.isnan(known_share(Counter(), {"b"}))
