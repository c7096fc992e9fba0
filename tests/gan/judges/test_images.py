import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gan.config import DataConfig, JudgeConfig
from gan.data.prepared import Prepared, open_prepared
from gan.errors import DataError, StateError, TrainingError, UserError
from gan.judges.images import Judge, fit_judge, load_judge, save_judge
from gan.judges.networks import shift_randomly
from gan.preparation.prepare import prepare
from gan.preparation.writer import PreparedWriter
from gan.tensor_file import metadata_key

CPU = torch.device("cpu")
SMALL = JudgeConfig(width=4, features=8, images_seen=320, batch_size=32)


def write_prepared(
    folder: Path,
    shape: tuple[int, int, int] = (1, 8, 8),
    counts: tuple[int, int] = (80, 30),
    names: list[str] | None = None,
    classes: int | None = None,
) -> Prepared:
    """Noise whose brightness tells its class."""
    rng = np.random.default_rng(0)
    with PreparedWriter(folder, source="digits", shape=shape, label_names=names) as writer:
        for split, count in zip(("train", "test"), counts, strict=True):
            labels = rng.integers(0, classes or len(names or "ab"), count)
            images = rng.integers(0, 100, (count, *shape)) + labels[:, None, None, None] * 70
            writer.append(split, images.astype(np.uint8), labels if names else None)
    return open_prepared(folder)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return write_prepared(tmp_path_factory.mktemp("labelled"), names=["dark", "bright"])


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return write_prepared(tmp_path_factory.mktemp("unlabelled"), shape=(3, 16, 16))


@pytest.fixture(scope="module")
def judge(labelled: Prepared) -> Judge:
    return fit_judge(labelled, SMALL, device=CPU, progress=False)[0]


@pytest.fixture
def path(judge: Judge, tmp_path: Path) -> Path:
    save_judge(judge, tmp_path / "judge.safetensors")
    return tmp_path / "judge.safetensors"


@pytest.mark.parametrize("size", [8, 16])
def test_digits_are_told_apart(size: int, tmp_path: Path):
    prepare(DataConfig(size=size), tmp_path, progress=False)
    judge, report = fit_judge(
        open_prepared(tmp_path), JudgeConfig(images_seen=30_000), device=CPU, progress=False
    )
    assert report.kind == "classifier"
    assert report.test_accuracy is not None
    assert report.test_accuracy >= 0.97
    assert judge.label_names == [str(digit) for digit in range(10)]


def test_the_reported_accuracy_and_loss_are_those_of_the_test_split(labelled: Prepared):
    judge, report = fit_judge(labelled, SMALL, device=CPU, progress=False)
    labels = labelled.labels("test")
    _, probabilities = judge.features_and_probabilities(labelled.images("test"))
    chosen = probabilities.numpy()[np.arange(30), labels]
    assert report.test_accuracy == pytest.approx((probabilities.argmax(1).numpy() == labels).mean())
    assert report.test_loss == pytest.approx(-np.log(chosen).mean(), rel=1e-5)
    assert report.explained_variance is None
    assert "explained_variance" not in report.metrics()
    assert "history" not in report.metrics()
    json.dumps(report.metrics(), allow_nan=False)
    columns = report.history
    assert set(columns) == {"step", "loss", "accuracy"}
    assert {len(column) for column in columns.values()} == {10}
    assert columns["loss"][-1] < columns["loss"][0]


def test_the_same_fit_gives_the_same_bytes_and_leaves_the_global_generator_alone(
    labelled: Prepared, path: Path, tmp_path: Path
):
    state = torch.get_rng_state()
    again, _ = fit_judge(labelled, SMALL, device=CPU, progress=False)
    save_judge(again, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert torch.equal(torch.get_rng_state(), state)
    other = SMALL.model_copy(update={"seed": 1})
    assert fit_judge(labelled, other, device=CPU, progress=False)[0].checksum != again.checksum


def test_without_labels_it_is_an_autoencoder(unlabelled: Prepared, tmp_path: Path):
    config = SMALL.model_copy(update={"images_seen": 3200, "learning_rate": 4e-3})
    judge, report = fit_judge(unlabelled, config, device=CPU, progress=False)
    assert (report.kind, report.test_accuracy, judge.classes) == ("autoencoder", None, 0)
    assert judge.label_names is None
    assert report.explained_variance is not None
    # Brightness, which tells the two kinds apart, is most of what there is to explain.
    assert 0.3 < report.explained_variance < 1
    with pytest.raises(UserError, match="autoencoder"):
        judge.features_and_probabilities(unlabelled.images("test"))
    save_judge(judge, tmp_path / "judge.safetensors")
    loaded = load_judge(tmp_path / "judge.safetensors")
    images = unlabelled.images("test")
    assert torch.equal(loaded.features(images), judge.features(images))


def test_labels_of_a_single_class_say_nothing_and_are_not_used(tmp_path: Path):
    prepared = write_prepared(tmp_path, names=["faces", "never"], classes=1)
    assert fit_judge(prepared, SMALL, device=CPU, progress=False)[1].kind == "autoencoder"


@pytest.mark.parametrize(("size", "channels"), [(8, 3), (32, 1), (64, 3), (128, 1)])
@pytest.mark.parametrize("names", [None, ["a", "b", "c"]], ids=["autoencoder", "classifier"])
def test_every_size_and_colour(size: int, channels: int, names, tmp_path: Path):
    prepared = write_prepared(tmp_path, (channels, size, size), (6, 4), names)
    config = SMALL.model_copy(update={"images_seen": 6, "batch_size": 3})
    judge, report = fit_judge(prepared, config, device=CPU, progress=False)
    assert judge.features(prepared.images("test")).shape == (4, 8)
    assert math.isfinite(report.test_loss)


def test_features_are_of_one_image_each_whatever_the_batch(judge: Judge, labelled: Prepared):
    images = labelled.images("train")
    features, probabilities = judge.features_and_probabilities(images)
    assert features.shape == (80, 8)
    assert features.dtype == probabilities.dtype == torch.float32
    assert probabilities.shape == (80, 2)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(80))
    torch.testing.assert_close(judge.features(images, batch_size=7), features)
    torch.testing.assert_close(judge.features(images[::-1]), features.flip(0))
    assert judge.features(images[:0]).shape == (0, 8)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 1, 8, 9), np.uint8),
        np.zeros((2, 3, 8, 8), np.uint8),
        np.zeros((1, 8, 8), np.uint8),
        np.zeros((2, 1, 8, 8), np.float32),
    ],
    ids=["width", "channels", "no batch", "dtype"],
)
def test_images_of_another_kind_are_refused(judge: Judge, images: np.ndarray):
    with pytest.raises(UserError, match=r"fitted on uint8 \['N', 1, 8, 8\]"):
        judge.features(images)


def test_a_loaded_judge_sees_the_same(judge: Judge, path: Path, labelled: Prepared):
    loaded = load_judge(path)
    images = labelled.images("test")
    for ours, theirs in zip(
        loaded.features_and_probabilities(images),
        judge.features_and_probabilities(images),
        strict=True,
    ):
        assert torch.equal(ours, theirs)
    assert loaded.checksum == judge.checksum
    assert loaded.label_names == ["dark", "bright"]
    assert loaded.data_checksum == labelled.manifest.checksum
    assert loaded.architecture == judge.architecture


def rewrite(path: Path, change) -> None:
    tensors = load_file(path)
    header = path.read_bytes()
    length = int.from_bytes(header[:8], "little")
    metadata = json.loads(header[8 : 8 + length])["__metadata__"]
    description = json.loads(metadata[metadata_key("judge")])
    change(tensors, description)
    save_file(tensors, path, metadata={metadata_key("judge"): json.dumps(description)})


def drop_tensor(tensors, description) -> None:
    del tensors["body.0.weight"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors, text: text.update(version=99), "version is 99, expected 1"),
        (lambda tensors, text: text.pop("architecture"), "damaged or foreign"),
        (lambda tensors, text: text["architecture"].update(colour=1), "damaged or foreign"),
        (lambda tensors, text: text["architecture"].update(features=9), "do not fit"),
        (drop_tensor, "do not fit"),
        (lambda tensors, text: tensors.update(extra=torch.zeros(1)), "do not fit"),
        # By the rules of `params.yaml`, before anything is built.
        (lambda t, text: text["architecture"].update(width=10**6), "width: found 1000000, expec"),
        (lambda t, text: text["architecture"].update(width=10**12), "width is 1000000000000: "),
        (lambda t, text: text["architecture"].update(width=-4), "width is -4: expected a number"),
        (lambda t, text: text["architecture"].update(width=True), "width is True: expected"),
        (lambda t, text: text["architecture"].update(features=10**5), "features: found 100000"),
        (lambda t, text: text["architecture"].update(size=12), "size is 12: expected 8, 16"),
        (lambda t, text: text["architecture"].update(size=2), "size is 2: expected 8, 16"),
        (lambda t, text: text["architecture"].update(channels=2), "channels are 2: expected 1 or"),
        (lambda t, text: text["architecture"].update(kind="other"), "kind is other: expected cl"),
        (lambda t, text: text["architecture"].update(kind="autoencoder"), "has 2 classes"),
        (lambda t, text: text.update(label_names=None), "label_names are None: expected a list"),
        (lambda t, text: text.update(label_names=["a"]), "there are 1 label_names, but 2 classes"),
        (lambda t, text: text.update(label_names=[1, 2]), "label_names are .1, 2.: expected"),
        (lambda t, text: t["head.weight"][0].fill_(math.nan), "head.weight holds NaN or infinity"),
        (lambda t, text: t["body.1.running_var"].fill_(-1), "holds a variance below zero"),
    ],
)
def test_a_judge_of_another_make_is_refused(path: Path, change, message: str):
    rewrite(path, change)
    with pytest.raises(StateError, match=message) as caught:
        load_judge(path)
    assert str(path) in str(caught.value)


def test_files_that_are_no_judge_are_refused(path: Path, tmp_path: Path):
    with pytest.raises(StateError, match="no such file"):
        load_judge(tmp_path / "absent.safetensors")
    content = path.read_bytes()
    for damaged in (b"", b"text", content[:-5], content[:200]):
        path.write_bytes(damaged)
        with pytest.raises(StateError, match="damaged or foreign"):
            load_judge(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(StateError, match="without the metadata key"):
        load_judge(path)


def test_a_loss_that_is_not_finite_stops_the_fit(labelled: Prepared, monkeypatch):
    monkeypatch.setattr(
        "gan.judges.images.F.cross_entropy", lambda logits, _: logits.sum() * math.nan
    )
    with pytest.raises(TrainingError, match=r"loss is nan at step 1 of 10.*learning_rate"):
        fit_judge(labelled, SMALL, device=CPU, progress=False)


@pytest.mark.parametrize("counts", [(1, 5), (5, 0)])
def test_too_few_images_are_refused(counts: tuple[int, int], tmp_path: Path):
    prepared = write_prepared(tmp_path, counts=counts, names=["a", "b"])
    with pytest.raises(DataError, match="two training images and a test image"):
        fit_judge(prepared, SMALL, device=CPU, progress=False)


def test_a_shift_moves_whole_images_and_repeats_edges():
    image = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4)
    rng = torch.Generator().manual_seed(0)
    moved = shift_randomly(image.repeat(200, 2, 1, 1), 1, rng)
    assert torch.equal(moved[:, 0], moved[:, 1])
    padded = torch.nn.functional.pad(image.float(), (1, 1, 1, 1), mode="replicate").byte()[0, 0]
    views = {
        tuple(padded[y : y + 4, x : x + 4].flatten().tolist()) for y in range(3) for x in range(3)
    }
    assert {tuple(each.flatten().tolist()) for each in moved[:, 0]} == views
    assert shift_randomly(image, 0, rng) is image
