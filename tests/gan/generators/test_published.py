import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import gan
from gan.config import ModelConfig
from gan.errors import StateError
from gan.generators.published import load_generator, save_generator
from gan.models import build_generator
from gan.symbols import Alphabet, Characters, Colours
from gan.tensor_file import metadata_key


@pytest.fixture
def generator():
    torch.manual_seed(0)
    config = ModelConfig(latent_size=3, generator_width=4, discriminator_width=4)
    return build_generator(config, (1, 8, 8)).to(memory_format=torch.channels_last)


@pytest.fixture
def published(generator, tmp_path: Path) -> Path:
    save_generator(generator, tmp_path / "generator.safetensors", provenance={"steps": 3})
    return tmp_path / "generator.safetensors"


def test_a_loaded_generator_draws_the_same_images(generator, published: Path):
    loaded = gan.load_generator(published)
    latent = torch.randn(4, 3)
    assert torch.equal(loaded(latent), generator.eval()(latent))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert (loaded.shape, loaded.latent_size) == ((1, 8, 8), 3)
    assert loaded.provenance == {"steps": 3}


@pytest.mark.slow
def test_it_loads_in_another_folder_and_process(published: Path, tmp_path: Path):
    code = (
        "import sys, gan, torch\n"
        f"g = gan.load_generator({str(published)!r})\n"
        "print(tuple(g(g.draw_latent(2, torch.Generator())).shape))\n"
        "print([m for m in ('dvc', 'ruamel.yaml', 'sklearn', 'matplotlib') if m in sys.modules])\n"
    )
    root = str(Path(gan.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "(2, 1, 8, 8)\n[]\n"


def test_the_same_weights_give_the_same_bytes(generator, published: Path, tmp_path: Path):
    again = tmp_path / "again.safetensors"
    save_generator(generator, again, provenance={"steps": 3})
    assert again.read_bytes() == published.read_bytes()


def rewrite(path: Path, change) -> None:
    """Save the file again with its description and tensors changed by `change`."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        description = json.loads(file.metadata()[metadata_key("generator")])
    tensors = load_file(path)
    change(description, tensors)
    save_file(tensors, path, metadata={metadata_key("generator"): json.dumps(description)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, t: d.update(version=99), "format version is 99, expected 1"),
        (lambda d, t: d.update(shape=[1, 16, 16]), "blocks.0.1.bias is missing"),
        (lambda d, t: t.pop("dense.weight"), "dense.weight is missing"),
        (lambda d, t: t.update(extra=torch.zeros(1)), "extra is not part of the model"),
        (
            lambda d, t: t.update({"dense.weight": torch.zeros(2, 2)}),
            r"dense.weight has shape \[2, 2\], expected \[64, 3\]",
        ),
        (lambda d, t: d["model"].update(name="other"), "configuration is not understood"),
        (lambda d, t: d.update(shape="large"), "that is understood: .*shape is large, expected"),
        (lambda d, t: d.update(shape=[1, -8, -8]), r"shape is \[1, -8, -8\], expected a list"),
        (lambda d, t: d.update(shape=[1, 2**40, 2**40]), "expected a list of numbers 1 to 65536"),
        (lambda d, t: d.update(shape=[1, True, True]), r"shape is \[1, True, True\], expected"),
        (lambda d, t: d.pop("shape"), "that is understood: KeyError: 'channels'"),
        (lambda d, t: d.update(provenance=[]), "the provenance is list, no object"),
        (lambda d, t: d.pop("version"), "damaged or foreign"),
        (lambda d, t: d["model"].update(generator_width=10**9), "generator_width: found 10{9}, "),
        (lambda d, t: d["model"].update(generator_width=-4), "generator_width: found -4, expected"),
        (lambda d, t: d["model"].update(depth=10**6), "model.: 1 error; depth: found 10{6}, "),
        (
            lambda d, t: t.update({"dense.weight": t["dense.weight"].double()}),
            "has dtype torch.float.., expected one floating type for all",
        ),
        (
            lambda d, t: t.update({"dense.weight": t["dense.weight"].int()}),
            "dense.weight has dtype torch.int32, expected one floating type",
        ),
        (
            lambda d, t: t["dense.weight"].view(-1)[3:4].fill_(math.nan),
            "weights are of no use: dense.weight holds NaN or infinity, expected finite",
        ),
        (
            lambda d, t: t["dense_norm.running_mean"].fill_(-math.inf),
            "dense_norm.running_mean holds NaN or infinity",
        ),
        (
            lambda d, t: t["dense_norm.running_var"].fill_(-1),
            "dense_norm.running_var holds a variance below zero",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(published: Path, change, message: str):
    rewrite(published, change)
    with pytest.raises(StateError, match=rf"(?s)generator.safetensors.*{message}"):
        load_generator(published)


def test_missing_damaged_and_foreign_files_are_refused(published: Path, tmp_path: Path):
    with pytest.raises(StateError, match="no such file"):
        load_generator(tmp_path / "nothing.safetensors")
    raw = published.read_bytes()
    published.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(StateError, match="damaged or foreign"):
        load_generator(published)
    save_file({"x": torch.zeros(1)}, published)
    with pytest.raises(StateError, match="without the metadata key"):
        load_generator(published)
    published.write_bytes(b"PK\x03\x04 not a tensor in sight")
    with pytest.raises(StateError, match="damaged or foreign"):
        load_generator(published)


def test_a_file_from_before_there_were_points_still_loads(generator, published: Path):
    def older(description, tensors) -> None:
        del description["shape"]
        description.update(channels=1, size=8)
        for key in ("latent", "depth", "spectral_norm"):
            del description["model"][key]

    rewrite(published, older)
    latent = torch.randn(4, 3)
    assert torch.equal(load_generator(published)(latent), generator.eval()(latent))


def test_a_generator_of_points(tmp_path: Path):
    config = ModelConfig(name="mlp", latent="uniform", latent_size=3, generator_width=4)
    generator = build_generator(config, (2,))
    save_generator(generator, tmp_path / "g.safetensors", provenance={})
    loaded = load_generator(tmp_path / "g.safetensors")
    assert loaded.shape == (2,)
    latent = loaded.draw_latent(5, torch.Generator())
    assert latent.abs().max() <= 1
    assert torch.equal(loaded(latent), generator.eval()(latent))


@pytest.mark.parametrize(
    ("alphabet", "model", "shape"),
    [
        (Colours.levels(2), "dcgan", (1, 8, 8)),
        (Colours(((0, 0, 0), (9, 8, 7), (255, 0, 1))), "dcgan", (3, 8, 8)),
        (Characters(tuple("aé\n ")), "text", (6,)),
    ],
)
def test_a_generator_of_symbols_has_its_alphabet_in_the_file(
    tmp_path: Path, alphabet: Alphabet, model: str, shape: tuple[int, ...]
):
    config = ModelConfig(name=model, latent_size=3, generator_width=4, depth=1)
    generator = build_generator(config, shape, alphabet)
    save_generator(generator, tmp_path / "g.safetensors", provenance={})
    loaded = load_generator(tmp_path / "g.safetensors")
    assert loaded.alphabet == alphabet
    assert loaded.positions == generator.positions
    latent = torch.randn(5, 3)
    assert torch.equal(loaded(latent), generator.eval()(latent))


@pytest.mark.parametrize(
    ("alphabet", "message"),
    [
        ({"characters": "aa"}, "not all different"),
        ({"characters": "ab"}, "alphabet is of characters, expected colours"),
        (None, "an alphabet is an object"),
        ({"colours": [[0, 0, 0], [1, 1, 1]]}, "3 channels, but an image has 1"),
        ({"colours": [[0], [1], [2]]}, "has shape .*, expected"),
    ],
)
def test_an_alphabet_that_does_not_fit_is_refused(tmp_path: Path, alphabet, message: str):
    config = ModelConfig(latent_size=3, generator_width=4)
    path = tmp_path / "generator.safetensors"
    save_generator(build_generator(config, (1, 8, 8), Colours.levels(2)), path, provenance={})
    rewrite(path, lambda d, t: d.update(alphabet=alphabet))
    with pytest.raises(StateError, match=rf"(?s)generator.safetensors.*{message}"):
        load_generator(path)


def test_the_file_of_a_generator_of_numbers_says_nothing_of_symbols(published: Path):
    rewrite(published, lambda d, t: (_ for _ in ()).throw(AssertionError) if "alphabet" in d else 0)
    assert load_generator(published).alphabet is None
