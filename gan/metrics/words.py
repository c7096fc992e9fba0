"""The words of texts, and how many of them are words of other texts.

A word is a run of letters, digits and underscores. One that touches either end of a text may have
been cut there, so it does not count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Set

# Not at either end: something else stands before it and behind it.
WHOLE_WORD = re.compile(r"(?<=\W)\w+(?=\W)")


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often every whole word occurs in `texts`, as it is written."""
    found: Counter[str] = Counter()
    for text in texts:
        found.update(WHOLE_WORD.findall(text))
    return found


def known_share(words: Counter[str], vocabulary: Set[str]) -> float:
    """Share of `words`, each as often as it occurs, that are in `vocabulary`. NaN without words."""
    total = words.total()
    known = sum(count for word, count in words.items() if word in vocabulary)
    return known / total if total else float("nan")
