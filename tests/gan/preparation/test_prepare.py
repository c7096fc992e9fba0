from __future__ import annotations

import inspect
import logging
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan.config import DataConfig
from gan.data.extent import Extent, extent_of
from gan.data.manifest import SPLITS
from gan.data.prepared import open_prepared
from gan.errors import DataError
from gan.preparation import prepare as module
from gan.preparation.prepare import prepare
from gan.preparation.sources import Batch, Failure, Source
from gan.symbols import Colours

ROOT = Path(__file__).parents[3]
# Sorted by luma.
COLOURS = [[20, 20, 60], [200, 40, 30], [60, 180, 90], [240, 230, 210]]


def synthetic(
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    *,
    failures: int = 0,
    held_out: int = 1,
    batch_size: int = 100,
) -> Source:
    """Let `prepare` read `count` images, the first `held_out` of each batch for testing."""

    def batches() -> Generator[Batch, None, None]:
        for start in range(0, count, batch_size):
            index = np.arange(start, min(start + batch_size, count))
            images = np.empty((len(index), 1, 32, 32), np.uint8)
            images[:] = (index % 256)[:, None, None, None]
            yield Batch(images, np.arange(len(index)) < held_out, index % 2)
        yield Batch(
            np.empty((0, 1, 32, 32), np.uint8),
            np.empty(0, bool),
            np.empty(0, np.int64),
            tuple(Failure(f"{index}.png", "is damaged") for index in range(failures)),
        )

    source = Source((1, 32, 32), ("even", "odd"), count + failures, batches())
    monkeypatch.setattr(module, "open_source", lambda config, workers: source)
    return source


def test_a_stream_becomes_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic(monkeypatch, 250, held_out=10)
    manifest = prepare(DataConfig(), tmp_path, progress=False)
    opened = open_prepared(tmp_path)
    assert opened.manifest == manifest
    test = [*range(10), *range(100, 110), *range(200, 210)]
    assert opened.images("test")[:, 0, 5, 5].tolist() == test
    labels = opened.labels("test")
    assert labels is not None
    assert labels.tolist() == [index % 2 for index in test]
    assert opened.images("train")[:, 0, 0, 0].tolist() == [
        index for index in range(250) if index not in test
    ]


def test_memory_does_not_grow_with_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peak(count: int) -> int:
        synthetic(monkeypatch, count)
        tracemalloc.start()
        prepare(DataConfig(), tmp_path / str(count), progress=False)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(500)  # what is imported on the way
    few, many = peak(1000), peak(30_000)
    assert (tmp_path / "30000" / "train.npy").stat().st_size > 29_000_000
    assert many - few < 200_000


class TestFailures:
    def test_stop_lists_them_and_writes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synthetic(monkeypatch, 200, failures=2)
        with pytest.raises(DataError) as caught:
            prepare(DataConfig(on_error="stop"), tmp_path, progress=False)
        assert str(caught.value).splitlines() == [
            "2 images in data/raw cannot be read:",
            "  0.png: is damaged",
            "  1.png: is damaged",
            "Repair or remove them, or set data.on_error to skip",
        ]
        assert list(tmp_path.iterdir()) == []

    def test_a_long_list_is_cut(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        synthetic(monkeypatch, 200, failures=1000)
        with pytest.raises(DataError) as caught:
            prepare(DataConfig(on_error="stop"), tmp_path, progress=False)
        lines = str(caught.value).splitlines()
        assert lines[0].startswith("1000 images")
        assert len(lines) == 1 + module.MAX_NAMES_SHOWN + 2
        assert lines[-2] == f"  … and {1000 - module.MAX_NAMES_SHOWN} more"

    def test_skip_counts_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        synthetic(monkeypatch, 200, failures=1)
        with caplog.at_level(logging.WARNING):
            manifest = prepare(DataConfig(on_error="skip"), tmp_path, progress=False)
        assert (manifest.skipped.count, manifest.skipped.names) == (1, ["0.png"])
        assert "1 image in data/raw was skipped:\n  0.png: is damaged" in caplog.text
        assert manifest.splits["train"].count + manifest.splits["test"].count == 200


@pytest.mark.parametrize(
    ("count", "held_out", "message"),
    [
        (5, 0, "5 are for training and 0 for testing"),
        (5, 5, "0 are for training and 5 for testing"),
        (0, 0, "no image of it can be used"),
    ],
)
def test_an_empty_split_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, held_out: int, message: str
) -> None:
    synthetic(monkeypatch, count, held_out=held_out)
    with pytest.raises(DataError, match=message):
        prepare(DataConfig(), tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_the_source_is_closed_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = synthetic(monkeypatch, 200)

    def refuse(*_: object) -> None:
        raise DataError("refused")

    monkeypatch.setattr(module, "_append", refuse)
    with pytest.raises(DataError, match="refused"):
        prepare(DataConfig(), tmp_path, progress=False)
    assert inspect.getgeneratorstate(source.batches) == inspect.GEN_CLOSED


def test_the_bar_knows_the_total(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    synthetic(monkeypatch, 300, failures=3)
    prepare(DataConfig(on_error="skip"), tmp_path)
    assert "303/303" in capsys.readouterr().err


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "0.png")
    for index in range(1, 1000):
        os.link(folder / "0.png", folder / f"{index}.png")
    program = (
        "import sys; from gan.config import DataConfig; "
        "from gan.preparation.prepare import prepare\n"
        "prepare(DataConfig(name='images', path=sys.argv[1], channels=3), sys.argv[2], workers=2)"
    )
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", program, folder, out],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    # All of the session is interrupted, as by a terminal, once the workers deliver.
    while not any(path.stat().st_size > 200 for path in out.glob(".train.npy.*")):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert errors.count("KeyboardInterrupt") == 1, errors
    assert list(out.iterdir()) == []


class TestSymbols:
    def photographs(self, folder: Path, *, damaged: int = 0) -> None:
        """Images of noise around four colours, in two folders."""
        rng = np.random.default_rng(0)
        colours = np.array(COLOURS)
        for number in range(40):
            pixels = colours[rng.integers(0, 4, (8, 8))] + rng.integers(-3, 4, (8, 8, 3))
            path = folder / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
        for number in range(damaged):
            (folder / "a" / f"damaged{number}.png").write_bytes(b"no image")

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_palette_of_the_training_images(self, tmp_path: Path, workers: int) -> None:
        self.photographs(tmp_path / "in")
        config = DataConfig(name="images", path=str(tmp_path / "in"), size=8, channels=3, palette=4)
        manifest = prepare(config, tmp_path / "out", workers=workers, progress=False)
        prepare(config, tmp_path / "again", progress=False)
        for file in (tmp_path / "out").iterdir():
            assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()
        assert (manifest.kind, manifest.shape) == ("symbol_images", [8, 8])
        assert manifest.label_names == ["a", "b"]
        opened = open_prepared(tmp_path / "out")
        assert opened.example_shape == (3, 8, 8)
        assert opened.alphabet is not None
        np.testing.assert_allclose(np.array(opened.alphabet.values), COLOURS, atol=1)
        # Decoded, an image is what it was, but for the noise.
        plain = prepare(
            config.model_copy(update={"palette": 0}), tmp_path / "plain", progress=False
        )
        assert plain.kind == "images"
        before = open_prepared(tmp_path / "plain").images("test").astype(int)
        assert np.abs(opened.images("test")[:] - before).max() <= 4

    def test_held_out_images_do_not_choose_it(self, tmp_path: Path) -> None:
        for split, colours in (("train", [10, 200]), ("test", [90, 100])):
            for number, colour in enumerate(colours):
                path = tmp_path / "in" / split / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (8, 8), colour).save(path)
        config = DataConfig(name="images", path=str(tmp_path / "in"), size=8, palette=16)
        manifest = prepare(config, tmp_path / "out", progress=False)
        assert manifest.alphabet == {"colours": [[10], [200]]}
        # 90 and 100 are both nearer to 10 than to 200.
        assert not open_prepared(tmp_path / "out").symbols("test").any()

    def test_what_cannot_be_read_is_told_before_a_palette_is_chosen(self, tmp_path: Path) -> None:
        self.photographs(tmp_path / "in", damaged=2)
        config = DataConfig(name="images", path=str(tmp_path / "in"), size=8, channels=3, palette=4)
        with pytest.raises(DataError, match=r"2 images in .* cannot be read:\n  a/damaged0.png"):
            prepare(config, tmp_path / "out", progress=False)
        assert not (tmp_path / "out").exists()
        skipping = config.model_copy(update={"on_error": "skip"})
        assert prepare(skipping, tmp_path / "out", progress=False).skipped.count == 2

    @pytest.mark.parametrize("key", ["levels", "palette"])
    def test_digits_have_seventeen_levels(self, tmp_path: Path, key: str) -> None:
        prepare(DataConfig(size=8, **{key: 17}), tmp_path / "symbols", progress=False)
        prepare(DataConfig(size=8), tmp_path / "images", progress=False)
        symbols, images = open_prepared(tmp_path / "symbols"), open_prepared(tmp_path / "images")
        assert symbols.alphabet == Colours.levels(17)
        for split in SPLITS:
            np.testing.assert_array_equal(symbols.images(split), images.images(split))
            np.testing.assert_array_equal(symbols.labels(split), images.labels(split))

    def test_two_levels_are_black_and_white(self, tmp_path: Path) -> None:
        prepare(DataConfig(levels=2), tmp_path / "symbols", progress=False)
        prepare(DataConfig(), tmp_path / "images", progress=False)
        symbols = open_prepared(tmp_path / "symbols").symbols("train")
        images = open_prepared(tmp_path / "images").images("train")
        np.testing.assert_array_equal(symbols, images[:, 0] > 127)


def folders(root: Path, **counts: int) -> Path:
    """Images of noise in folders of these names, `__` for what is below."""
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        folder = root / name.replace("__", "/")
        folder.mkdir(parents=True)
        for index in range(count):
            image = Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8))
            image.save(folder / f"{index}.png")
    return root


def test_a_check_sees_the_counts_before_anything_takes_its_place(tmp_path: Path) -> None:
    source = folders(tmp_path / "set", train__a=3, train__b=2, test__a=1, test__c=4)
    config = DataConfig(name="images", path=str(source), size=8)
    seen = []
    prepare(config, tmp_path / "out", progress=False, check=seen.append)
    before, after = seen
    assert before == Extent("images", (1, 8, 8), train=10, test=10, classes=3, complete=False)
    assert after == Extent("images", (1, 8, 8), 5, 5, 3, only_held_out={"c": 4})
    opened = open_prepared(tmp_path / "out").manifest
    assert extent_of(opened) == after._replace(only_held_out={})


@pytest.mark.parametrize("complete", [False, True])
def test_what_a_check_refuses_is_not_written(tmp_path: Path, complete: bool) -> None:
    prepare(DataConfig(), tmp_path, progress=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def refuse(extent: Extent) -> None:
        if extent.complete == complete:
            raise DataError("too few")

    with pytest.raises(DataError, match="too few"):
        prepare(DataConfig(size=8), tmp_path, progress=False, check=refuse)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
