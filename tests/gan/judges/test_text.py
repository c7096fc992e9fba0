import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gan.config import DataConfig
from gan.data.prepared import Prepared, open_prepared
from gan.errors import DataError, StateError
from gan.judges import text
from gan.judges.images import load_judge
from gan.judges.text import (
    FORMAT_VERSION,
    KIND,
    load_text_judge,
    save_text_judge,
    some_texts,
)
from gan.metrics.as_json import as_json
from gan.metrics.ngrams import count_ngrams
from gan.preparation.prepare import prepare
from gan.preparation.writer import PreparedWriter
from gan.symbols import Characters
from gan.tensor_file import read_tensors, write_tensors


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    words = ["one", "two", "three", "four", "five", "naïve"]
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(words, rng.integers(1, 5))) for _ in range(600)]
    (tmp_path / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    config = DataConfig(name="text", path=str(tmp_path / "text.txt"), length=16)
    prepare(config, tmp_path / "prepared", progress=False)
    return open_prepared(tmp_path / "prepared")


def test_the_counts_and_words_come_back(prepared: Prepared, tmp_path: Path):
    path = tmp_path / "judge.safetensors"
    report = as_json(save_text_judge(prepared, path, seed=0))
    judge = load_text_judge(path, prepared.manifest.checksum)
    test = prepared.symbols("test")
    assert judge.alphabet == prepared.alphabet
    assert (judge.length, judge.texts) == (16, len(test))
    size, padding = judge.alphabet.size, judge.alphabet.padding
    assert padding is not None
    assert judge.alphabet.values[padding] == "\n"
    assert len(judge.held_out) == 6
    for n, found in enumerate(judge.held_out, start=1):
        expected = count_ngrams(test, n, size, padding)
        assert found.codes.tolist() == expected.codes.tolist()
        assert found.counts.tolist() == expected.counts.tolist()
    # All words but those that only begin or end a line.
    assert judge.words["train"] == {"one", "two", "three", "four", "five", "naïve"}
    assert judge.divergences(np.asarray(test), 6) == [0] * 6
    assert report["checksum"] == judge.checksum


def test_the_report_says_what_real_texts_and_order_are_worth(prepared: Prepared, tmp_path: Path):
    report = as_json(save_text_judge(prepared, tmp_path / "judge.safetensors", seed=0))
    json.dumps(report, allow_nan=False)
    assert (report["kind"], report["length"]) == ("n-grams", 16)
    assert report["held_out_texts"] == report["floor_texts"] == len(prepared.symbols("test"))
    assert report["words"] == {"held_out": 6, "training": 6, "both": 6}
    rows = report["jensen_shannon"]
    assert list(rows) == ["1", "2", "3", "4", "5", "6"]
    assert rows["1"]["shuffled"] == 0
    for n in "23456":
        assert 0 < rows[n]["floor"] < 0.2 * rows[n]["shuffled"] < 0.2 * math.log(2)


def test_the_same_bytes_and_checksum(prepared: Prepared, tmp_path: Path):
    one, two = (save_text_judge(prepared, tmp_path / name, seed=0) for name in ("a", "b"))
    assert one == two
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_only_so_many_held_out_texts_are_counted(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gan.judges.text.MOST_TEXTS", 30)
    report = as_json(save_text_judge(prepared, tmp_path / "judge", seed=0))
    judge = load_text_judge(tmp_path / "judge", prepared.manifest.checksum)
    assert judge.texts == report["held_out_texts"] == report["floor_texts"] == 30
    assert judge.held_out[0].total <= 30 * 16
    # Words are of all texts.
    assert report["words"]["held_out"] == 6


def test_a_part_of_texts_is_random_and_in_order():
    texts = np.arange(100, dtype=np.uint8)[:, None]
    part = some_texts(texts, 10, 0, "a")[:, 0].tolist()
    assert len(set(part)) == 10
    assert part == sorted(part) != list(range(10))
    assert some_texts(texts, 10, 0, "a")[:, 0].tolist() == part
    assert some_texts(texts, 10, 0, "b")[:, 0].tolist() != part
    assert some_texts(texts, 100, 0, "a")[:, 0].tolist() == list(range(100))


def test_texts_without_line_ends_have_no_padding():
    assert Characters(("a", "b")).padding is None
    assert Characters(("a", "\n")).padding == 1


def test_the_judge_of_other_data_or_of_images_is_refused(prepared: Prepared, tmp_path: Path):
    path = tmp_path / "judge.safetensors"
    save_text_judge(prepared, path, seed=0)
    with pytest.raises(StateError, match=r"of texts with the checksum .*run judge again"):
        load_text_judge(path, "other")
    with pytest.raises(StateError, match="damaged or foreign, expected a judge of images"):
        load_judge(path)
    tensors = {"a": torch.zeros(1)}
    for kind, message in (
        ("classifier", "found the kind 'classifier', expected 'n-grams'"),
        ("n-grams", "damaged or foreign, expected a judge of texts: KeyError: 'alphabet'"),
    ):
        description = {"architecture": {"kind": kind}, "data_checksum": "x"}
        write_tensors(path, tensors, kind=KIND, version=FORMAT_VERSION, description=description)
        with pytest.raises(StateError, match=message):
            load_text_judge(path, "x")


@pytest.mark.parametrize(
    ("description", "tensors", "message"),
    [
        ({"length": -1}, {}, "length is -1: expected a whole number 1 to"),
        ({"texts": 2.5}, {}, "texts is 2.5: expected a whole number"),
        ({"texts": True}, {}, "texts is True: expected a whole number"),
        ({"alphabet": {"labels": ["a", "b"]}}, {}, "an alphabet of labels, expected characters"),
        ({"alphabet": {"characters": "ab"}}, {}, r"codes of 1-grams .* below 2\*\*1"),
        ({}, {"codes.2": torch.tensor([3, 1])}, "there are 2 2-grams, but 27 counts of them"),
        ({}, {"codes.1": torch.arange(2), "counts.1": torch.tensor([1, 0])}, "counts of 1-grams"),
        ({}, {"codes.1": torch.tensor([1, 0]), "counts.1": torch.ones(2).long()}, "do not rise"),
        ({}, {"codes.1": torch.tensor([-1]), "counts.1": torch.tensor([1])}, "do not rise"),
        ({}, {"codes.1": torch.tensor([0]), "counts.1": torch.tensor([2**62])}, "counts of 1-gra"),
        ({}, {"codes.1": torch.zeros(1, 1).long()}, r"codes.1 is torch.int64 \[1, 1\]: expected"),
        ({}, {"words.test": torch.tensor([255], dtype=torch.uint8)}, "UnicodeDecodeError"),
        ({}, {"words.test": torch.zeros(3)}, "words.test is torch.float32"),
    ],
)
def test_a_judge_that_does_not_agree_with_itself_is_refused(
    prepared: Prepared, tmp_path: Path, description: dict, tensors: dict, message: str
):
    path = tmp_path / "judge.safetensors"
    save_text_judge(prepared, path, seed=0)
    sound, found = read_tensors(path, kind=KIND, version=FORMAT_VERSION, device="cpu")
    sound.pop("version")
    write_tensors(
        path,
        {**found, **tensors},
        kind=KIND,
        version=FORMAT_VERSION,
        description={**sound, **description},
    )
    with pytest.raises(StateError, match=rf"judge.safetensors is damaged or foreign.*({message})"):
        load_text_judge(path, prepared.manifest.checksum)


def test_images_have_no_ngrams(tmp_path: Path):
    prepare(DataConfig(size=8, levels=2), tmp_path, progress=False)
    with pytest.raises(DataError, match="holds symbol_images: expected text"):
        save_text_judge(open_prepared(tmp_path), tmp_path / "judge.safetensors", seed=0)


def test_the_counts_of_many_characters_come_back(tmp_path: Path):
    rng = np.random.default_rng(0)
    lines = ["".join(map(chr, 0x4E00 + rng.zipf(1.3, 14).clip(max=3400))) for _ in range(900)]
    (tmp_path / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    config = DataConfig(name="text", path=str(tmp_path / "text.txt"), length=12, alphabet=3500)
    prepare(config, tmp_path / "prepared", progress=False)
    prepared = open_prepared(tmp_path / "prepared")
    size = prepared.text_alphabet().size
    assert size > 600
    report = as_json(save_text_judge(prepared, tmp_path / "judge.safetensors", seed=0))
    judge = load_text_judge(tmp_path / "judge.safetensors", prepared.manifest.checksum)
    test = prepared.symbols("test")
    for n, found in enumerate(judge.held_out, start=1):
        expected = count_ngrams(test, n, size, judge.alphabet.padding)
        assert found.codes.dtype == expected.codes.dtype
        assert found.codes.tolist() == expected.codes.tolist()
        assert found.counts.tolist() == expected.counts.tolist()
    assert judge.divergences(np.asarray(test), 6) == [0] * 6
    assert report["alphabet"] == size
    assert report["jensen_shannon"]["1"]["floor"] < 0.1


def test_n_grams_that_no_number_holds_come_back(tmp_path: Path):
    alphabet = Characters(tuple(map(chr, range(0x4E00, 0x4E00 + 3000))))
    rng = np.random.default_rng(0)
    texts = rng.integers(0, 3000, (40, 8)).astype("<u2")
    texts[:, -3:] = 0  # bytes that are zero at the end
    with PreparedWriter(
        tmp_path / "prepared", source="text", shape=(8,), kind="text", alphabet=alphabet
    ) as writer:
        writer.append("train", texts[:20])
        writer.append("test", texts[20:])
    prepared = open_prepared(tmp_path / "prepared")
    save_text_judge(prepared, tmp_path / "judge", seed=0)
    judge = load_text_judge(tmp_path / "judge", prepared.manifest.checksum)
    kinds = [found.codes.dtype.str for found in judge.held_out]
    assert kinds == ["<i8"] * 5 + ["|S12"]
    expected = count_ngrams(texts[20:], 6, 3000, None)
    assert judge.held_out[5].codes.tolist() == expected.codes.tolist()
    assert judge.divergences(texts[20:], 6)[5] == 0
    assert judge.divergences(texts[:20], 6)[5] == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros((2, 12), np.uint8), r"codes of 6-grams do not rise from 0 to below 3000\*\*6"),
        (np.full((2, 12), 255, np.uint8), "codes of 6-grams do not rise"),
        (np.repeat(np.array([[0], [12]], np.uint8), 12, axis=1), "do not rise from 0 to below"),
        (np.zeros((1, 12), np.uint8), "there are 1 6-grams, but 2 counts"),
        (np.zeros((1, 10), np.uint8), "codes.6 has 10 bytes a code: expected 12"),
        (np.arange(2), r"codes.6 is torch.int64 \[2\]: expected torch.uint8 in 2 dimensions"),
    ],
)
def test_bytes_that_are_no_n_grams_are_refused(codes: np.ndarray, message: str):
    good = np.zeros((2, 12), np.uint8)
    good[1, 11] = 1
    tensors = {"counts.6": torch.ones(2).long(), "codes.6": torch.from_numpy(good)}
    assert text._ngrams(tensors, 6, 3000).codes.tolist() == [b"", b"\0" * 11 + b"\1"]
    with pytest.raises(ValueError, match=message):
        text._ngrams({**tensors, "codes.6": torch.from_numpy(codes)}, 6, 3000)
