from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from gan.metrics.memorisation import nearest_images
from gan.symbols import (
    REPLACEMENT,
    Alphabet,
    Characters,
    ClassNames,
    Colours,
    DecodedImages,
    alphabet_from_json,
    nearest,
    symbol_array,
    symbol_dtype,
    symbol_tensor,
)

COLOURS = ((0, 0, 0), (255, 0, 0), (10, 200, 30))
PALETTE = Colours(COLOURS)
LETTERS = Characters(("\n", "a", "b", "é", "𝄞"))
CLASSES = ClassNames(("cat", "dog", "fish"))


def palettes(channels: int) -> st.SearchStrategy[Colours]:
    level = st.integers(0, 255)
    colours = st.lists(st.tuples(*[level] * channels), min_size=2, max_size=20, unique=True)
    return colours.map(lambda found: Colours(tuple(found)))


def images(channels: int) -> st.SearchStrategy[np.ndarray]:
    return stnp.arrays(
        np.uint8, st.tuples(st.integers(1, 3), st.just(channels), st.just(4), st.just(3))
    )


class TestLevels:
    def test_by_hand(self) -> None:
        assert Colours.levels(2).values == ((0,), (255,))
        assert Colours.levels(3).values == ((0,), (128,), (255,))
        assert Colours.levels(256).values == tuple((level,) for level in range(256))

    def test_two_are_a_threshold_in_the_middle(self) -> None:
        symbols = Colours.levels(2).encode(np.array([[[0, 127, 128, 255]]], np.uint8))
        assert symbols.tolist() == [[0, 0, 1, 1]]

    def test_a_tie_goes_to_the_darker(self) -> None:
        # 64 is as far from 0 as from 128.
        symbols = Colours.levels(3).encode(np.array([[[63, 64, 65]]], np.uint8))
        assert symbols.tolist() == [[0, 0, 1]]

    @pytest.mark.parametrize("count", [-1, 0, 1, 257])
    def test_others_are_refused(self, count: int) -> None:
        with pytest.raises(ValueError, match=f"levels are {count}: expected 2 to 256"):
            Colours.levels(count)


class TestImages:
    def test_decoding_by_hand(self) -> None:
        symbols = np.array([[[0, 1], [2, 1]]], np.uint8)
        decoded = PALETTE.decode(symbols)
        assert decoded.dtype == np.uint8
        assert decoded.flags.c_contiguous
        assert decoded.tolist() == [[[[0, 255], [10, 255]], [[0, 0], [200, 0]], [[0, 0], [30, 0]]]]
        # Any number of axes in front, also none.
        assert PALETTE.decode(symbols[0]).shape == (3, 2, 2)
        assert PALETTE.decode(symbols[None, None]).shape == (1, 1, 1, 3, 2, 2)

    @settings(deadline=None)
    @given(st.data(), st.sampled_from([1, 3]))
    def test_encoding_is_the_inverse(self, data: st.DataObject, channels: int) -> None:
        alphabet = data.draw(palettes(channels))
        symbols = data.draw(
            stnp.arrays(np.uint8, (2, 3, 4), elements=st.integers(0, alphabet.size - 1))
        )
        np.testing.assert_array_equal(alphabet.encode(alphabet.decode(symbols)), symbols)

    @settings(deadline=None)
    @given(st.data(), st.sampled_from([1, 3]))
    def test_the_nearest_and_of_these_the_first(self, data: st.DataObject, channels: int) -> None:
        alphabet, pixels = data.draw(palettes(channels)), data.draw(images(channels))
        colours = np.array(alphabet.values, np.int64)
        difference = np.moveaxis(pixels, 1, -1)[..., None, :].astype(np.int64) - colours
        expected = np.square(difference).sum(-1).argmin(-1)  # the first of equal ones
        np.testing.assert_array_equal(alphabet.encode(pixels), expected)

    def test_more_pixels_than_a_block(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (40_000, 3), dtype=np.uint8)
        expected = np.concatenate([nearest(pixels[i : i + 999], np.array(COLOURS, np.uint8))
                                   for i in range(0, len(pixels), 999)])  # fmt: skip
        np.testing.assert_array_equal(nearest(pixels, np.array(COLOURS, np.uint8)), expected)

    def test_networks_see_the_colours(self) -> None:
        table = PALETTE.table()
        assert table.dtype == torch.float32
        expected = torch.tensor(COLOURS, dtype=torch.float64) / 127.5 - 1
        torch.testing.assert_close(table.double(), expected, atol=1e-6, rtol=0)

    def test_what_does_not_fit_is_refused(self) -> None:
        with pytest.raises(ValueError, match="go up to 3: expected less than 3"):
            PALETTE.decode(np.full((1, 2, 2), 3, np.uint8))
        with pytest.raises(ValueError, match="symbols are int64: expected uint8"):
            PALETTE.decode(np.zeros((1, 2, 2), np.int64))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"\[1, 1, 2, 2\]: expected \[\.\.\., 3, H, W\]"):
            PALETTE.encode(np.zeros((1, 1, 2, 2), np.uint8))


class TestText:
    def test_by_hand(self) -> None:
        symbols = LETTERS.encode("ba\n𝄞é")
        assert symbols.dtype == np.uint8
        assert symbols.tolist() == [2, 1, 0, 4, 3]
        assert LETTERS.decode(np.stack([symbols, symbols[::-1]])) == ["ba\n𝄞é", "é𝄞\nab"]
        assert LETTERS.decode(np.zeros((0, 5), np.uint8)) == []

    @given(
        st.lists(
            st.characters(codec="utf-8", exclude_characters=REPLACEMENT),
            min_size=2,
            max_size=256,
            unique=True,
        ),
        st.data(),
    )
    def test_decoding_is_the_inverse(self, characters: list[str], data: st.DataObject) -> None:
        alphabet = Characters(tuple(characters))
        text = data.draw(st.text(st.sampled_from(characters)))
        assert alphabet.decode(alphabet.encode(text)[None]) == [text]

    def test_what_has_no_symbol_becomes_the_replacement(self) -> None:
        alphabet = Characters(("a", REPLACEMENT, "z"))
        assert alphabet.encode("a?zé").tolist() == [0, 1, 2, 1]

    def test_or_is_named(self) -> None:
        with pytest.raises(ValueError, match="the character 'x' is not in the alphabet"):
            LETTERS.encode("axy")

    def test_what_does_not_fit_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"are \[3\]: expected \[N, L\]"):
            LETTERS.decode(np.zeros(3, np.uint8))
        with pytest.raises(ValueError, match="go up to 5: expected less than 5"):
            LETTERS.decode(np.full((1, 1), 5, np.uint8))


MANY = Characters(tuple(map(chr, range(0x4E00, 0x4E00 + 3000))))


class TestManyCharacters:
    def test_a_byte_as_far_as_it_goes_and_two_above(self) -> None:
        dtypes = [symbol_dtype(size).str for size in (2, 256, 257, 3000, 65_536)]
        assert dtypes == ["|u1", "|u1", "<u2", "<u2", "<u2"]
        for size in (1, 65_537):
            with pytest.raises(ValueError, match=f"2 to 65536 symbols: found {size}"):
                symbol_dtype(size)

    def test_by_hand(self) -> None:
        symbols = MANY.encode("丁一丿")
        assert (symbols.dtype.str, symbols.tolist()) == ("<u2", [1, 0, 0x3F])
        last = MANY.encode(chr(0x4E00 + 2999))
        assert last.tolist() == [2999]
        assert MANY.decode(np.array([[2999, 1]], "<u2")) == [chr(0x4E00 + 2999) + "丁"]
        assert alphabet_from_json(MANY.to_json()) == MANY

    @given(st.data(), st.integers(257, 2000))
    def test_decoding_is_the_inverse(self, data: st.DataObject, size: int) -> None:
        alphabet = Characters(MANY.values[:size])
        symbols = data.draw(stnp.arrays("<u2", (3, 4), elements=st.integers(0, size - 1)))
        texts = alphabet.decode(symbols)
        np.testing.assert_array_equal(np.stack([alphabet.encode(text) for text in texts]), symbols)

    def test_what_has_no_symbol_becomes_the_replacement(self) -> None:
        alphabet = Characters((*MANY.values, REPLACEMENT))
        assert alphabet.encode("a丁").tolist() == [3000, 1]

    def test_as_many_as_there_can_be(self) -> None:
        alphabet = Characters(tuple(map(chr, range(0xE000, 0xE000 + 65_536))))
        assert alphabet.encode(chr(0xE000 + 65_535)).tolist() == [65_535]
        assert alphabet.decode(np.array([[65_535]], "<u2")) == [chr(0xE000 + 65_535)]

    def test_bytes_are_not_its_symbols(self) -> None:
        with pytest.raises(ValueError, match="symbols are uint8: expected uint16"):
            MANY.decode(np.zeros((1, 2), np.uint8))
        with pytest.raises(ValueError, match="symbols are uint16: expected uint8"):
            LETTERS.decode(np.zeros((1, 2), np.uint16))
        with pytest.raises(ValueError, match="go up to 3000: expected less than 3000"):
            MANY.decode(np.full((1, 2), 3000, "<u2"))

    def test_the_border_to_tensors_and_back(self) -> None:
        wide = np.array([[0, 65_535], [40_000, 7]], "<u2")
        tensor = symbol_tensor(wide)
        assert (tensor.dtype, tensor.tolist()) == (torch.int32, wide.tolist())
        back = symbol_array(tensor, 65_536)
        assert back.dtype.str == "<u2"
        np.testing.assert_array_equal(back, wide)
        narrow = np.array([[0, 255]], np.uint8)
        assert symbol_tensor(narrow).dtype == torch.uint8
        assert np.shares_memory(symbol_tensor(narrow).numpy(), narrow)
        assert symbol_array(symbol_tensor(narrow), 256).dtype == np.uint8
        points = np.zeros((2, 2), np.float32)
        assert np.shares_memory(symbol_tensor(points).numpy(), points)


class TestJson:
    @pytest.mark.parametrize("alphabet", [PALETTE, LETTERS, Colours.levels(17), CLASSES])
    def test_there_and_back(self, alphabet: Alphabet) -> None:
        assert alphabet_from_json(json.loads(json.dumps(alphabet.to_json()))) == alphabet

    def test_properties(self) -> None:
        assert (PALETTE.size, PALETTE.noun, PALETTE.kind) == (3, "colours", "images")
        assert (LETTERS.size, LETTERS.noun, LETTERS.kind) == (5, "characters", "text")
        assert (CLASSES.size, CLASSES.noun, CLASSES.kind) == (3, "labels", "labels")
        assert (PALETTE.channels, Colours.levels(17).channels) == (3, 1)
        assert (LETTERS.padding, Characters(("a", "b")).padding) == (0, None)

    @pytest.mark.parametrize(
        ("alphabet", "stored", "shape", "positions"),
        [
            (PALETTE, (4, 5), (3, 4, 5), (4, 5)),
            (LETTERS, (7,), (7,), (7,)),
            (CLASSES, (3, 4, 5), (3, 4, 5), ()),
        ],
    )
    def test_shapes(
        self, alphabet: Alphabet, stored: tuple, shape: tuple, positions: tuple
    ) -> None:
        assert alphabet.example_shape(stored) == shape
        assert alphabet.positions(shape) == positions

    def test_only_colours_are_shown_as_something_else(self) -> None:
        symbols = np.array([[[0, 1], [2, 1]]], np.uint8)
        np.testing.assert_array_equal(PALETTE.shown(symbols), PALETTE.decode(symbols))
        for alphabet, shown in ((LETTERS, symbols[0]), (CLASSES, symbols[0, 0])):
            assert alphabet.shown(shown) is shown

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (None, "object with either colours, characters or labels: found None"),
            ({}, r"found \{\}"),
            ({"colours": [[0], [1]], "characters": "ab"}, "either colours, characters or labels"),
            ({"labels": ["one"]}, "2 to 256 labels: found 1"),
            ({"labels": ["one", "one"]}, "labels are not all different"),
            ({"labels": ["one", ""]}, "labels are names: found ''"),
            ({"labels": [0, 1]}, "labels are names: found 0"),
            ({"labels": "ab"}, "found 'labels', str"),
            ({"letters": "ab"}, "found 'letters', str"),
            ({"characters": ["a", "b"]}, "found 'characters', list"),
            ({"colours": "ab"}, "found 'colours', str"),
            ({"colours": [0, 1]}, "not all lists"),
            ({"colours": [[0]]}, "2 to 256 colours: found 1"),
            ({"colours": [[0], [0]]}, "colours are not all different"),
            ({"colours": [[0], [1, 2, 3]]}, r"1 or 3 levels each: found \(1, 2, 3\)"),
            ({"colours": [[0, 1], [1, 2]]}, "1 or 3 levels each"),
            ({"colours": [[], [1]]}, "1 or 3 levels each"),
            ({"colours": [[0], [256]]}, r"levels 0 to 255: found \(256,\)"),
            ({"colours": [[0], [True]]}, "levels 0 to 255"),
            ({"colours": [[0], [0.5]]}, "levels 0 to 255"),
            ({"colours": [[[0]], [[1]]]}, "not plain values"),
            ({"characters": "a"}, "2 to 65536 characters: found 1"),
            ({"characters": "aba"}, "characters are not all different"),
            ({"characters": "a\ud800"}, "one character a symbol"),
            ({"characters": "".join(map(chr, range(0xE000, 0x1E001)))}, "found 65537"),
        ],
    )
    def test_what_is_no_alphabet_is_refused(self, values: object, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            alphabet_from_json(values)


class TestDecodedImages:
    symbols = np.random.default_rng(0).integers(0, 3, (10, 4, 5), dtype=np.uint8)
    view = DecodedImages(symbols, PALETTE)
    array = PALETTE.decode(symbols)

    def test_reads_like_the_array(self) -> None:
        for name in ("shape", "dtype", "ndim", "size", "nbytes"):
            assert getattr(self.view, name) == getattr(self.array, name)
        assert len(self.view) == len(self.array)
        np.testing.assert_array_equal(np.asarray(self.view), self.array)
        np.testing.assert_array_equal(np.concatenate([self.view, self.array[:1]])[:10], self.array)
        assert np.asarray(self.view, np.float32).dtype == np.float32

    @pytest.mark.parametrize(
        "index",
        [
            3,
            np.int64(3),
            slice(2, 9, 3),
            slice(8, 20),
            np.array([5, 1, 1]),
            np.array([[0, 1], [9, 2]]),
            np.arange(10) % 2 == 0,
            [4, 2],
            torch.tensor([7, 3]),
        ],
        ids=repr,
    )
    def test_of_any_index_along_the_first_axis(self, index: object) -> None:
        found = self.view[index]
        np.testing.assert_array_equal(found, self.array[index])  # type: ignore[call-overload]
        assert torch.from_numpy(found).is_contiguous()

    def test_not_of_others(self) -> None:
        with pytest.raises(TypeError, match="first axis only"):
            self.view[0, 1]
        with pytest.raises(ValueError, match="without a copy"):
            np.array(self.view, copy=False)

    def test_iteration_ends(self) -> None:
        np.testing.assert_array_equal(np.stack(list(self.view)), self.array)

    def test_metrics_take_it_for_an_array(self) -> None:
        queries = self.array[[4, 0]]
        view, array = (nearest_images(queries, images, 3) for images in (self.view, self.array))
        np.testing.assert_array_equal(view.indices, array.indices)
        np.testing.assert_array_equal(view.distances, array.distances)
