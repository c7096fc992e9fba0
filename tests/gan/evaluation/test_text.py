import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gan.config import DataConfig, EvaluateConfig
from gan.data.prepared import Prepared, open_prepared
from gan.errors import UserError
from gan.evaluation import Evaluation
from gan.evaluation.text import evaluate
from gan.judges.text import TextJudge, load_text_judge, save_text_judge
from gan.metrics.ngrams import count_ngrams, jensen_shannon, shuffled
from gan.preparation.prepare import prepare

LENGTH = 20
CONFIG = EvaluateConfig(memorisation_images=150)
Data = tuple[Prepared, TextJudge]


def draw(count: int, seed: int) -> list[str]:
    """Sentences of a small language with some thousand sentences."""
    rng = np.random.default_rng(seed)
    subjects, verbs = ["cats", "dogs", "men", "birds"], ["see", "hear", "like"]
    objects = [a + b for a in ("red", "big", "old", "new") for b in ("cars", "hats", "maps", "ink")]
    return [
        " ".join(str(rng.choice(part)) for part in (subjects, verbs, ["all", "no"], objects))
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return prepared_texts("\n".join(draw(1500, 0)), tmp_path_factory.mktemp("texts"))


def prepared_texts(text: str, folder: Path, length: int = LENGTH) -> Data:
    (folder / "text.txt").write_text(text)
    config = DataConfig(name="text", path=str(folder / "text.txt"), length=length)
    prepare(config, folder / "prepared", progress=False)
    prepared = open_prepared(folder / "prepared")
    save_text_judge(prepared, folder / "judge", seed=0)
    return prepared, load_text_judge(folder / "judge", prepared.manifest.checksum)


def encode(texts: list[str], data: Data) -> np.ndarray:
    alphabet = data[1].alphabet
    return np.stack([alphabet.encode(text[:LENGTH].ljust(LENGTH, "\n")) for text in texts])


def run(samples: np.ndarray, data: Data, seed: int = 0, **config: Any) -> dict[str, Any]:
    return found(samples, data, seed, **config).metrics


def found(samples: np.ndarray, data: Data, seed: int = 0, **config: Any) -> Evaluation:
    chosen = CONFIG.model_copy(update=config)
    return evaluate(samples, *data, chosen, seed=seed, progress=False)


def test_the_same_language_reaches_the_floor(data: Data):
    metrics = run(encode(draw(1000, 7), data), data)
    for n, row in metrics["jensen_shannon"].items():
        assert row["at_floor_count"] == pytest.approx(row["floor"], rel=0.5, abs=1e-3), n
        assert row["value"] < row["at_floor_count"]
    row = metrics["jensen_shannon"]["4"]
    assert row["shuffled"] > 0.5 > 20 * row["at_floor_count"]
    words = metrics["words"]["in_held_out"]
    # Some of the 24 sentence parts that the length cuts are words of one split alone.
    assert words["value"] == pytest.approx(words["floor"], abs=0.03)
    assert words["shuffled"] < 0.5
    assert metrics["words"]["a_text"]["value"] == pytest.approx(
        metrics["words"]["a_text"]["floor"], rel=0.1
    )
    json.dumps(metrics, allow_nan=False)


def test_noise_of_the_right_characters_reaches_the_shuffled_texts(data: Data):
    noise = shuffled(encode(draw(1000, 7), data), data[1].alphabet.padding, 5)
    metrics = run(noise, data)
    for n in "234":
        row = metrics["jensen_shannon"][n]
        assert row["at_floor_count"] == pytest.approx(row["shuffled"], rel=0.1)
    words = metrics["words"]
    assert words["in_held_out"]["value"] == pytest.approx(
        words["in_held_out"]["shuffled"], abs=0.05
    )


def test_a_collapsed_generator_shows(data: Data):
    metrics = run(np.repeat(encode(draw(1, 7), data), 500, axis=0), data)
    assert metrics["distinct"]["texts"]["value"] < 0.01 < metrics["distinct"]["texts"]["floor"]
    assert metrics["distinct"]["4"]["value"] < metrics["distinct"]["4"]["floor"]
    assert metrics["jensen_shannon"]["1"]["value"] > 0.02
    assert metrics["words"]["in_held_out"]["value"] == 1


def test_a_generator_that_copies_shows(data: Data):
    train = np.array(data[0].symbols("train"))[:300]
    memory = run(train, data)["memorisation"]
    assert memory["copies"]["value"] == memory["long_runs"]["value"] == 1
    # Lines are held out by what they say; some come twice in training.
    whole = np.array(data[0].symbols("train"))
    _, place, times = np.unique(whole, axis=0, return_inverse=True, return_counts=True)
    repeated = (times[place.ravel()] > 1).mean()
    assert memory["copies"]["held_out"] == 0
    assert 0.3 < repeated < 1
    assert run(train, data, memorisation_images=2000)["memorisation"]["copies"][
        "repeated"
    ] == pytest.approx(repeated, rel=1e-5)
    nothing = run(np.random.default_rng(0).integers(0, 5, train.shape).astype(np.uint8), data)
    assert nothing["memorisation"]["copies"]["value"] == 0
    assert nothing["memorisation"]["long_runs"]["value"] == 0


def test_the_padding_of_short_texts_is_no_long_run(tmp_path: Path):
    words = [f"{a}{b}" for a in "abcdefgh" for b in "klmnopqr"]
    prepared, judge = prepared_texts("\n".join(words * 3), tmp_path)
    train = np.array(prepared.symbols("train"))
    memory = run(train, (prepared, judge))["memorisation"]
    # Two characters and the end of the text, three times each.
    assert memory["copies"] == {"value": 1, "held_out": 0, "repeated": 1}
    assert memory["long_runs"] == {"value": 0, "held_out": 0}


def test_the_numbers_are_those_of_the_metrics(data: Data):
    prepared, judge = data
    samples, held_out = encode(draw(800, 7), data), np.array(prepared.symbols("test"))
    assert len(held_out) < 800
    metrics = run(samples, data, ngrams=6)
    assert list(metrics["jensen_shannon"]) == ["1", "2", "3", "4", "5", "6"]
    for n in (1, 6):
        real, all_of_them, as_many = (
            count_ngrams(texts, n, judge.alphabet.size, judge.alphabet.padding)
            for texts in (held_out, samples, samples[: len(held_out)])
        )
        row = metrics["jensen_shannon"][str(n)]
        assert row["value"] == pytest.approx(jensen_shannon(all_of_them, real), rel=1e-5)
        assert row["at_floor_count"] == pytest.approx(jensen_shannon(as_many, real), rel=1e-5)
        assert row["ratio_to_floor"] == pytest.approx(row["at_floor_count"] / row["floor"], 1e-4)
        distinct = metrics["distinct"][str(n)]
        assert distinct["value"] == pytest.approx(len(as_many.codes) / as_many.total, rel=1e-5)
        assert distinct["floor"] == pytest.approx(len(real.codes) / real.total, rel=1e-5)


def test_words_of_the_training_split_are_told_from_held_out_ones(data: Data):
    prepared, judge = data
    changed = {"train": judge.words["train"] - {"see"}, "test": judge.words["test"] - {"hear"}}
    other = TextJudge(
        judge.alphabet, judge.length, judge.texts, judge.held_out, changed, judge.checksum
    )
    texts = ["a see", "a hear", "a rdd", "a no"]
    words = run(encode(texts, data), (prepared, other))["words"]
    assert words["in_held_out"]["value"] == words["in_training"]["value"] == 0.5
    assert words["in_either"]["value"] == 0.75
    assert words["a_text"]["value"] == 1


def test_the_result_is_the_same_every_time_and_says_how_it_came_about(data: Data):
    samples = encode(draw(100, 7), data)
    metrics = run(samples, data)
    assert run(samples, data) == metrics
    other = run(samples, data, seed=1)
    assert other["jensen_shannon"]["3"]["floor"] != metrics["jensen_shannon"]["3"]["floor"]
    assert other["jensen_shannon"]["3"]["value"] == metrics["jensen_shannon"]["3"]["value"]
    protocol = metrics["protocol"]
    assert protocol["samples"] == protocol["floor_count"] == 100
    assert (protocol["length"], protocol["longest_ngrams"], protocol["format"]) == (LENGTH, 4, 1)
    assert protocol["memorisation_samples"] == 100
    assert (protocol["memorisation_held_out"], protocol["memorisation_run"]) == (150, 10)
    assert protocol["data_checksum"] == data[0].manifest.checksum
    assert protocol["extractor_checksum"] == data[1].checksum


def test_what_is_drawn_are_the_divergences(data: Data):
    result = found(encode(draw(100, 7), data), data)
    rows = result.metrics["jensen_shannon"].values()
    assert set(result.shown) == {"floor", "at_floor_count", "shuffled"}
    for key, values in result.shown.items():
        assert values.tolist() == pytest.approx([row[key] for row in rows], rel=1e-5)
    longest = result.metrics["jensen_shannon"]["4"]
    assert result.summary.startswith(
        f"Jensen–Shannon divergence of 4-grams {longest['at_floor_count']:.3f} "
        f"(real against real {longest['floor']:.3f}"
    )


def test_what_has_no_value_is_not_drawn(tmp_path: Path):
    words = [a + b + c + d for a in "abc" for b in "def" for c in "ghi" for d in "jkl"]
    short = prepared_texts("\n".join(words), tmp_path, length=4)
    result = found(np.array(short[0].symbols("train")), short, ngrams=5)
    assert result.metrics["jensen_shannon"]["5"]["floor"] is None
    assert all(
        np.isnan(values).tolist() == [False] * 4 + [True] for values in result.shown.values()
    )
    assert "divergence of 4-grams" in result.summary


def test_samples_without_a_word_have_none_as_their_share(data: Data):
    samples = np.zeros((5, LENGTH), np.uint8)
    metrics = run(samples, data)
    assert metrics["words"]["in_held_out"]["value"] is None
    assert metrics["words"]["a_text"]["value"] == 0
    assert metrics["jensen_shannon"]["2"]["value"] == pytest.approx(math.log(2), rel=1e-5)
    assert metrics["distinct"]["2"]["value"] is None
    json.dumps(metrics, allow_nan=False)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((5, LENGTH), np.float32), r"samples are float32 .* expected uint8 \[N, L\]"),
        (np.zeros((0, LENGTH), np.uint8), r"samples are uint8 \[0, 20\]"),
        (np.zeros((5, 1, 8, 8), np.uint8), r"samples are uint8 \[5, 1, 8, 8\]"),
        (np.zeros((5, 9), np.uint8), "samples have 9 symbols: expected 20, as the data"),
        (np.full((5, LENGTH), 200, np.uint8), "samples hold the symbol 200: expected below"),
    ],
)
def test_samples_that_cannot_be_judged_are_refused(data: Data, samples: np.ndarray, message: str):
    with pytest.raises(UserError, match=message):
        run(samples, data)


def test_the_file_of_the_judge_is_enough(data: Data, tmp_path: Path):
    save_text_judge(data[0], tmp_path / "again", seed=0)
    again = load_text_judge(tmp_path / "again", data[0].manifest.checksum)
    samples = encode(draw(100, 7), data)
    assert run(samples, (data[0], again)) == run(samples, data)
