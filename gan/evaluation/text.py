"""Samples of text against held-out text: what the evaluation of texts says.

Most measures depend on how many texts they see. So each stands beside its **floor**, the same
measure for as many real texts, and where it means something beside that of **shuffled** held-out
texts, which have the right characters and lengths, and no order.
"""

from __future__ import annotations

import math

import numpy as np

from gan.config import EvaluateConfig
from gan.data.prepared import Prepared
from gan.errors import UserError
from gan.evaluation.found import Evaluation
from gan.judges.text import TextJudge, some_texts
from gan.metrics.as_json import as_json
from gan.metrics.ngrams import (
    Texts,
    check_texts,
    copied,
    count_ngrams,
    distinct,
    occurrences,
    shuffled,
)
from gan.metrics.records import (
    Copies,
    Floored,
    KnownWords,
    NgramMetrics,
    TextMemorisation,
    TextMetrics,
    TextProtocol,
    WordMetrics,
)
from gan.metrics.words import count_words, known_share
from gan.runtime import stream_seed

# Raised when a name or the meaning of a value changes.
FORMAT_VERSION = 1


def evaluate(
    samples: Texts,
    prepared: Prepared,
    judge: TextJudge,
    config: EvaluateConfig,
    *,
    seed: int,
    progress: bool = True,
) -> Evaluation:
    """Judge `samples` by held-out texts. The same input gives the same result.

    Args:
        samples: symbols `[N, L]`, drawn independently of each other.
        prepared: the texts that the generator was trained on, for floors and copies.
        judge: of these texts.
        config: `ngrams` and `memorisation_images` are used.
        seed: of which real texts the floors are taken from, and of the shuffling.
        progress: there is no bar.

    Raises:
        UserError: another shape or dtype, no samples, or symbols that are not in the alphabet.
    """
    check_texts("samples", samples, judge.alphabet.size)
    if samples.shape[1] != judge.length:
        raise UserError(
            f"samples have {samples.shape[1]} symbols: expected {judge.length}, as the data"
        )
    train, test = prepared.symbols("train"), prepared.symbols("test")
    # As many on either side of a comparison with a floor.
    count = min(len(samples), len(train), len(test))
    of_train = some_texts(train, count, seed, "evaluate training texts")
    of_test = some_texts(test, count, seed, "evaluate held-out texts")
    mixed = shuffled(
        of_test, judge.alphabet.padding, stream_seed(seed, "evaluate shuffled characters")
    )
    metrics = TextMetrics(
        jensen_shannon=_divergences(
            judge, config.ngrams, samples, samples[:count], of_train, mixed
        ),
        words=_words(judge, samples, of_train, of_test, mixed),
        distinct=_distinct(judge, config.ngrams, samples[:count], of_test),
        memorisation=_memorisation(judge, config, samples, train, test, seed),
        protocol=TextProtocol(
            format=FORMAT_VERSION,
            seed=seed,
            samples=len(samples),
            training_texts=len(train),
            test_texts=len(test),
            judged_texts=judge.texts,
            floor_count=count,
            length=judge.length,
            alphabet=judge.alphabet.size,
            longest_ngrams=config.ngrams,
            memorisation_samples=min(config.memorisation_images, len(samples)),
            memorisation_held_out=min(config.memorisation_images, len(test)),
            memorisation_run=_run(judge.length),
            extractor="n-grams and words",
            extractor_checksum=judge.checksum,
            data_checksum=prepared.manifest.checksum,
        ),
    )
    rows = metrics.jensen_shannon.values()
    shown = {
        "floor": np.array([row.floor for row in rows]),
        "at_floor_count": np.array([row.at_floor_count for row in rows]),
        "shuffled": np.array([row.shuffled for row in rows]),
    }
    return Evaluation(as_json(metrics), _summary(metrics), shown)


def _summary(metrics: TextMetrics) -> str:
    # Of n-grams longer than the texts there is nothing to say, nor of words without a word.
    longest, row = [
        (n, row) for n, row in metrics.jensen_shannon.items() if not math.isnan(row.floor)
    ][-1]
    words = metrics.words.in_held_out
    value, floor, mixed = (
        "none" if share is None or math.isnan(share) else f"{share:.1%}"
        for share in (words.value, words.floor, words.shuffled)
    )
    return (
        f"Jensen–Shannon divergence of {longest}-grams {row.at_floor_count:.3f} (real against "
        f"real {row.floor:.3f}, shuffled {row.shuffled:.3f}), {value} of the words known (real "
        f"{floor}, shuffled {mixed})"
    )


def _divergences(
    judge: TextJudge, longest: int, samples: Texts, matched: Texts, of_train: Texts, mixed: Texts
) -> dict[str, NgramMetrics]:
    values, at_floor_count, floors, of_mixed = (
        judge.divergences(texts, longest) for texts in (samples, matched, of_train, mixed)
    )
    return {
        str(n): NgramMetrics(
            value=values[n - 1],
            at_floor_count=at_floor_count[n - 1],
            floor=floors[n - 1],
            shuffled=of_mixed[n - 1],
            ratio_to_floor=at_floor_count[n - 1] / floors[n - 1] if floors[n - 1] else None,
        )
        for n in range(1, longest + 1)
    }


def _words(
    judge: TextJudge, samples: Texts, of_train: Texts, of_test: Texts, mixed: Texts
) -> WordMetrics:
    words, train_words, test_words, mixed_words = (
        count_words(judge.alphabet.decode(np.asarray(texts)))
        for texts in (samples, of_train, of_test, mixed)
    )
    held_out, training = judge.words["test"], judge.words["train"]
    return WordMetrics(
        in_held_out=KnownWords(
            value=known_share(words, held_out),
            floor=known_share(train_words, held_out),
            shuffled=known_share(mixed_words, held_out),
        ),
        in_training=KnownWords(
            value=known_share(words, training),
            floor=known_share(test_words, training),
            shuffled=known_share(mixed_words, training),
        ),
        # Real words are all in here: there is no floor but 1.
        in_either=KnownWords(
            value=known_share(words, held_out | training),
            shuffled=known_share(mixed_words, held_out | training),
        ),
        a_text=Floored(value=words.total() / len(samples), floor=test_words.total() / len(of_test)),
    )


def _distinct(judge: TextJudge, longest: int, matched: Texts, of_test: Texts) -> dict[str, Floored]:
    def share(texts: Texts, n: int) -> float:
        return distinct(count_ngrams(texts, n, judge.alphabet.size, judge.alphabet.padding))

    return {
        "texts": Floored(
            value=len(np.unique(matched, axis=0)) / len(matched),
            floor=len(np.unique(of_test, axis=0)) / len(of_test),
        ),
        **{
            str(n): Floored(value=share(matched, n), floor=share(of_test, n))
            for n in range(1, longest + 1)
        },
    }


def _memorisation(
    judge: TextJudge,
    config: EvaluateConfig,
    samples: Texts,
    train: Texts,
    test: Texts,
    seed: int,
) -> TextMemorisation:
    count, length = config.memorisation_images, samples.shape[1]
    checked = np.asarray(samples[:count])
    held_out = some_texts(test, count, seed, "evaluate held-out copies")
    learned = some_texts(train, count, seed, "evaluate repeated texts")
    both = np.concatenate([checked, held_out])

    def found(run: int, padding: int | None, repeated: float | None = None) -> Copies:
        share = copied(both, train, run, padding)  # one pass over the training split for both
        return Copies(
            value=float(share[: len(checked)].mean()),
            held_out=float(share[len(checked) :].mean()),
            repeated=repeated,
        )

    # Where lines are held out by what they say, no held-out text is a copy, however good a model
    # of the language is. What comes more than once in training one may well say again.
    repeated = float((occurrences(learned, train, length) > 1).mean())
    return TextMemorisation(
        copies=found(length, None, repeated),
        long_runs=found(_run(length), judge.alphabet.padding),
    )


def _run(length: int) -> int:
    """How many characters in a row make a long run: half a text."""
    return max(1, length // 2)
