from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gan.config import DataConfig, JudgeConfig
from gan.data.manifest import SPLITS, WithoutSymbol, manifest_checksum
from gan.data.prepared import open_prepared
from gan.errors import DataError
from gan.judges.images import fit_judge
from gan.preparation.prepare import prepare
from gan.preparation.writer import PreparedWriter
from gan.symbols import Characters

LETTERS = Characters(("a", "b"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight images for training and two for testing, with labels."""
    rng = np.random.default_rng(0)
    out = tmp_path / "out"
    with PreparedWriter(out, source="images", shape=(3, 8, 8), label_names=["a", "b"]) as writer:
        for split, count in (("train", 8), ("test", 2)):
            images = rng.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
            writer.append(split, images, np.arange(count) % 2)  # type: ignore[arg-type]
    return out


def test_the_map_goes_to_torch_without_warning_and_is_no_way_to_the_file(folder: Path) -> None:
    before = (folder / "train.npy").read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.from_numpy(open_prepared(folder).images("train")).zero_()
    assert (folder / "train.npy").read_bytes() == before


class TestOpenRefuses:
    def check(self, folder: Path, *parts: str) -> None:
        with pytest.raises(DataError) as caught:
            open_prepared(folder)
        for part in parts:
            assert part in str(caught.value)

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        self.check(tmp_path / "none", "none", "manifest.json is missing", "run prepare")

    @pytest.mark.parametrize("name", ["train.npy", "test.npy", "train_labels.npy"])
    def test_a_missing_array(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        self.check(folder, name, "No such file")

    @pytest.mark.parametrize("name", ["train.npy", "test_labels.npy"])
    @pytest.mark.parametrize("keep", [-1, 130, 100, 0])
    def test_a_truncated_array(self, folder: Path, name: str, keep: int) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:keep])
        self.check(folder, name)

    def test_bytes_behind_the_array(self, folder: Path) -> None:
        with (folder / "train.npy").open("ab") as file:
            file.write(b"!")
        self.check(folder, "train.npy", f"has {128 + 8 * 192 + 1} bytes: expected {128 + 8 * 192}")

    def test_an_array_of_another_shape(self, folder: Path) -> None:
        np.save(folder / "train.npy", np.zeros((8, 1, 8, 8), np.uint8))
        self.check(folder, "train.npy", "uint8 [8, 3, 8, 8]", "found uint8 [8, 1, 8, 8]")

    def test_a_foreign_array(self, folder: Path) -> None:
        (folder / "train.npy").write_bytes(b"\x80\x04 a pickle, perhaps")
        self.check(folder, "train.npy", "no whole .npy file")

    @pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{", b"3"])
    def test_a_manifest_that_is_none(self, folder: Path, content: bytes) -> None:
        (folder / "manifest.json").write_bytes(content)
        self.check(folder, "manifest.json", "damaged or foreign, expected the manifest")

    def change(self, folder: Path, **values: Any) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, **values}))

    def change_and_sum(self, folder: Path, **values: Any) -> None:
        """As `change`, with the checksum that goes with it."""
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest = {**manifest, **values}
        del manifest["checksum"]
        manifest["checksum"] = manifest_checksum(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    @pytest.mark.parametrize("shape", [[], [3, 8], [3, 0, 8], [3, -8, -8], [3, 2**40, 8]])
    def test_a_shape_that_no_image_has(self, folder: Path, shape: list[int]) -> None:
        self.change_and_sum(folder, shape=shape)
        self.check(folder, "manifest.json", f"images are {shape}: expected C, H, W, each at least")

    def test_a_shape_that_is_not_the_arrays(self, folder: Path) -> None:
        self.change_and_sum(folder, shape=[3, 2**30, 2**30])
        self.check(folder, "train.npy is not the array of the manifest", "found uint8 [8, 3, 8, 8]")

    def test_labels_without_names(self, folder: Path) -> None:
        self.change_and_sum(folder, label_names=None)
        self.check(folder, "labels of train and label_names: expected both or neither")

    @pytest.mark.parametrize(
        "text", ["[" * 100_000, '{"format": 1, "a": ' + "[" * 3000 + "]" * 3000 + "}", "9" * 5000]
    )
    def test_a_manifest_that_has_no_end(self, folder: Path, text: str) -> None:
        (folder / "manifest.json").write_text(text)
        self.check(folder, "manifest.json is damaged or foreign, expected the manifest")

    def test_a_key_that_clears_the_terminal(self, folder: Path) -> None:
        self.change(folder, **{"\x1b[2J" + "k" * 5000: 1})
        with pytest.raises(DataError) as caught:
            open_prepared(folder)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 500

    @pytest.mark.parametrize("header", ["[" * 3000, "1+1", "'\x00", "-" * 3000 + "1"])
    def test_an_array_whose_header_is_no_literal(self, folder: Path, header: str) -> None:
        content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
        (folder / "train.npy").write_bytes(content + bytes(300))
        self.check(folder, "train.npy", "found no whole .npy file")

    def test_another_format(self, folder: Path) -> None:
        self.change(folder, format=2)
        self.check(folder, "manifest.json", "format 2: expected 1")

    def test_a_manifest_of_other_keys(self, folder: Path) -> None:
        self.change(folder, shape="8x8")
        self.check(folder, "manifest.json", "shape", "list")

    def test_a_manifest_that_leads_elsewhere(self, folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["splits"]["train"]["array"]["file"] = "../../etc/passwd"
        self.change(folder, splits=manifest["splits"])
        self.check(folder, "manifest.json", "splits.train.array.file")

    def test_a_split_too_few(self, folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        self.change(folder, splits={"train": manifest["splits"]["train"]})
        self.check(folder, "manifest.json", "['train']")

    def test_a_manifest_edited_by_hand(self, folder: Path) -> None:
        self.change(folder, label_names=["dog", "cat"])
        self.check(folder, "manifest.json", "changed after it was written")

    def test_changed_bytes_when_asked_to_verify(self, folder: Path) -> None:
        content = bytearray((folder / "test.npy").read_bytes())
        content[-1] ^= 1
        (folder / "test.npy").write_bytes(content)
        opened = open_prepared(folder)
        with pytest.raises(DataError, match=r"test\.npy.*checksum"):
            opened.verify()

    def test_a_dtype_that_is_not_the_kinds(self, folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        self.change(folder, dtype="float32")
        assert manifest["dtype"] == "uint8"
        self.check(folder, "images of dtype float32: expected uint8")


def test_images_are_no_points(folder: Path) -> None:
    with pytest.raises(DataError, match="holds images: expected points"):
        open_prepared(folder).points("train")


def test_points_without_their_toy_are_refused(tmp_path: Path) -> None:
    """As they were written before the manifest named it."""
    with PreparedWriter(tmp_path, source="toy", shape=(2,), kind="points", toy="ring") as writer:
        for split in SPLITS:
            writer.append(split, np.zeros((3, 2), np.float32))
    path = tmp_path / "manifest.json"
    content = json.loads(path.read_text())
    assert content.pop("toy") == "ring"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"points with neither toy nor columns.*run prepare"):
        open_prepared(tmp_path)


def test_the_kind_of_examples_and_the_names_of_labels(folder: Path, tmp_path: Path) -> None:
    images = open_prepared(folder)
    assert (images.kind, images.label_names) == ("images", ["a", "b"])
    prepare(DataConfig(levels=2, size=8), tmp_path / "symbols", progress=False)
    symbols = open_prepared(tmp_path / "symbols")
    assert (symbols.kind, symbols.manifest.kind) == ("images", "symbol_images")
    for prepared in (images, symbols):
        with pytest.raises(DataError, match=f"holds {prepared.manifest.kind}: expected text"):
            prepared.text_alphabet()
        assert prepared.characters is None


class TestSymbols:
    @pytest.fixture
    def symbols(self, tmp_path: Path) -> Path:
        with PreparedWriter(
            tmp_path, source="digits", shape=(4,), kind="text", alphabet=LETTERS
        ) as writer:
            for split in SPLITS:
                writer.append(split, np.zeros((2, 4), np.uint8))
        return tmp_path

    @pytest.mark.parametrize(
        ("alphabet", "message"),
        [
            ({"characters": "aa"}, "alphabet: .* not all different"),
            ({"colours": [[0], [255]]}, "text have an alphabet of colours: expected characters"),
            (None, "text have an alphabet of None: expected characters"),
        ],
    )
    def test_an_alphabet_that_does_not_fit_is_refused(
        self, symbols: Path, alphabet: object, message: str
    ) -> None:
        path = symbols / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "alphabet": alphabet}))
        with pytest.raises(DataError, match=rf"manifest.json: .*{message}.*; run prepare again"):
            open_prepared(symbols)

    def test_another_alphabet_is_a_change(self, symbols: Path) -> None:
        path = symbols / "manifest.json"
        path.write_text(path.read_text().replace('"ab"', '"ac"'))
        with pytest.raises(DataError, match="was changed after it was written"):
            open_prepared(symbols)

    def test_more_characters_than_a_byte_tells_apart(self, tmp_path: Path) -> None:
        alphabet = Characters(tuple(map(chr, range(0x4E00, 0x4E00 + 300))))
        lost = WithoutSymbol(count=3, characters=1000, share=0.003)
        texts = np.array([[299, 256, 255, 0], [1, 2, 3, 4]], "<u2")
        with PreparedWriter(
            tmp_path,
            source="text",
            shape=(4,),
            kind="text",
            alphabet=alphabet,
            without_symbol=lost,
        ) as writer:
            for split in SPLITS:
                writer.append(split, texts)
            with pytest.raises(ValueError, match=r"text are uint8 .*: expected uint16"):
                writer.append("train", texts.astype(np.uint8))
            with pytest.raises(ValueError, match="go up to 300: expected less than 300"):
                writer.append("train", texts + np.uint16(1))
        prepared = open_prepared(tmp_path)
        prepared.verify()
        assert (prepared.manifest.dtype, prepared.manifest.stored) == ("uint16", ("uint16", "<u2"))
        assert prepared.manifest.without_symbol == lost
        symbols = prepared.symbols("test")
        assert (symbols.dtype.str, symbols.tolist()) == ("<u2", texts.tolist())
        assert np.load(tmp_path / "train.npy").tolist() == texts.tolist()
        path = tmp_path / "manifest.json"
        path.write_text(path.read_text().replace('"uint16"', '"uint8"'))
        with pytest.raises(DataError, match="has text of dtype uint8: expected uint16"):
            open_prepared(tmp_path)

    def test_text_is_no_images_and_images_are_no_symbols(self, symbols: Path, folder: Path) -> None:
        texts = open_prepared(symbols)
        assert (texts.kind, texts.characters, texts.label_names) == ("text", LETTERS, [])
        assert texts.symbols("test").tolist() == [[0] * 4] * 2
        with pytest.raises(DataError, match="holds text: expected images or symbol_images"):
            open_prepared(symbols).images("test")
        with pytest.raises(DataError, match="holds images: expected symbol_images or text"):
            open_prepared(folder).symbols("test")
        assert open_prepared(folder).alphabet is None

    def test_a_judge_sees_the_images(self, tmp_path: Path) -> None:
        """Fitted on a view of symbols it is what it is on the decoded array."""
        prepare(DataConfig(levels=2, size=8), tmp_path / "symbols", progress=False)
        of_symbols = open_prepared(tmp_path / "symbols")
        shape, names = of_symbols.example_shape, of_symbols.manifest.label_names
        with PreparedWriter(
            tmp_path / "images", source="digits", shape=shape, label_names=names
        ) as writer:
            for split in SPLITS:
                writer.append(split, of_symbols.images(split)[:], of_symbols.labels(split))
        config = JudgeConfig(width=4, features=8, images_seen=512)
        found = []
        for folder in ("symbols", "images"):
            prepared = open_prepared(tmp_path / folder)
            judge, _ = fit_judge(prepared, config, device=torch.device("cpu"), progress=False)
            found.append(judge.features(prepared.images("test")))
        one, other = found
        assert torch.equal(one, other)
