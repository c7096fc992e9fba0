import logging
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gan.config import Config, EvaluateConfig, parse
from gan.data import limits
from gan.data.extent import Extent
from gan.data.limits import (
    FEWEST_FOR_INFINITY,
    FEWEST_FOR_NEURAL,
    STAGES,
    check,
    in_words,
    left_out,
    machine_memory,
    problems,
)
from gan.errors import ConfigError, DataError, UserError
from gan.metrics.frechet_distance import distance_at_infinity
from gan.metrics.moments import moments

DIGITS = Extent("images", (1, 16, 16), train=1461, test=336, classes=10)
FEW = DIGITS._replace(train=24, test=6, classes=0)
POINTS = Extent("points", (2,), train=16_000, test=4_000, classes=8)
TEXTS = Extent("text", (32,), train=5_000, test=1_000, classes=0)


def config(**sections: dict[str, object]) -> Config:
    return parse(Config, sections, "here")


def refused(config: Config, extent: Extent, *stages: limits.Stage) -> list[str]:
    return list(problems(config, extent, stages or STAGES))


@pytest.mark.parametrize(
    ("values", "extent"),
    [
        ({}, DIGITS),
        ({"data": {"name": "toy"}, "model": {"name": "mlp"}}, POINTS),
        (
            {
                "data": {"name": "topics"},
                "model": {"name": "text"},
                "objective": {"generator": "boundary_seeking", "penalties": {"r1": 0.0}},
            },
            TEXTS,
        ),
    ],
)
def test_the_defaults_have_room_and_nothing_is_said(
    values: dict[str, dict[str, object]], extent: Extent, caplog
):
    check(config(**values), extent)
    assert not caplog.messages


def test_a_batch_is_no_larger_than_the_training_split():
    assert refused(config(train={"batch_size": 24}), FEW) == []
    assert refused(config(train={"batch_size": 25}), FEW) == [
        "train.batch_size is 25, but there are only 24 images to train with: expected at most 24"
    ]
    # Not the business of the others, later on.
    assert refused(config(train={"batch_size": 25}), FEW, "judge", "sample", "evaluate") == []
    with pytest.raises(
        ConfigError, match=r"(?s)ask for what cannot be:\n  train\.batch_size is 64"
    ):
        check(Config(), FEW)


def test_one_example_is_none_to_learn_from():
    (line,) = refused(Config(), FEW._replace(train=1), "judge")
    assert line.startswith("there is 1 image to train with: expected two at least")


@pytest.mark.parametrize(("classes", "words"), [(0, "no"), (1, "1"), (100_000, "100000")])
def test_a_classifier_learns_from_classes(classes: int, words: str):
    wanted = config(
        model={"name": "classifier"},
        objective={"generator": "boundary_seeking", "penalties": {"r1": 0.0}},
    )
    (line,) = refused(wanted, DIGITS._replace(classes=classes))
    assert line.startswith(f"model.name is classifier, but the images are of {words} classes: ")
    assert refused(wanted, DIGITS) == []


def test_samples_that_no_memory_holds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "machine_memory", lambda: 2**30)
    monkeypatch.setattr(limits, "_free", lambda folder: 2**62)
    device = {"device": "cpu"}
    for_each = 64 * 20 + 10 * 4  # features three times, probabilities
    most = 2**30 // for_each
    assert refused(config(sample={"count": most}, runtime=device), DIGITS) == []
    (line,) = refused(config(sample={"count": most + 1}, runtime=device), DIGITS)
    assert line == (
        f"sample.count is {most + 1}, for which evaluate needs 1 GiB of memory, but this machine "
        f"has 1 GiB: expected at most {most}"
    )
    both = refused(config(sample={"count": 10**9}, runtime=device), DIGITS)
    assert [line.partition(" needs ")[0] for line in both] == [
        "sample.count is 1000000000, for which sample",
        "sample.count is 1000000000, for which evaluate",
    ]
    assert len(refused(config(sample={"count": 10**9}, runtime=device), DIGITS, "sample")) == 1
    monkeypatch.setattr(limits, "machine_memory", lambda: None)
    assert refused(config(sample={"count": 10**9}, runtime=device), DIGITS) == []


def test_samples_that_no_disk_holds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "machine_memory", lambda: 2**62)
    monkeypatch.setattr(limits, "_free", lambda folder: 256 * 10_000)
    assert refused(config(sample={"count": 10_000}), DIGITS) == []
    assert refused(config(sample={"count": 10_001}), DIGITS) == [
        "sample.count is 10001, which takes 2.44 MiB of disk, but 2.44 MiB are free: expected at "
        "most 10000"
    ]
    assert refused(config(sample={"count": 10_001}), DIGITS, "evaluate") == []


def test_the_memory_of_this_machine_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = machine_memory()
    assert found is not None
    assert found > 2**26
    (tmp_path / "group").write_text("12345\n")
    (tmp_path / "none").write_text("max\n")
    paths = (str(tmp_path / "none"), str(tmp_path / "group"), str(tmp_path / "nothing"))
    monkeypatch.setattr(limits, "_LIMITS_OF_GROUPS", paths)
    assert machine_memory() == 12345


def test_before_anything_is_read_only_what_is_certain_is_refused(caplog):
    whole = FEW._replace(train=30, test=30, complete=False)
    check(config(train={"batch_size": 30}), whole)
    assert not caplog.messages
    with pytest.raises(ConfigError, match="there are only 30 images"):
        check(config(train={"batch_size": 31}), whole)


def test_a_class_that_is_only_held_out_is_a_mistake_unless_chance_may_be_to_blame(caplog):
    # 0.2⁶ · 10 is below a thousandth, 0.2⁵ · 10 is not.
    with pytest.raises(DataError) as caught:
        check(Config(), DIGITS._replace(only_held_out={"cta\n": 6, "x": 1}))
    assert str(caught.value) == (
        "there are held-out examples of classes without a single one to train with: cta\\n (6), "
        "x (1); expected the same classes for training and testing"
    )
    check(Config(), DIGITS._replace(only_held_out={"cat": 5}))
    assert caplog.messages == [
        "there are held-out examples of classes without a single one to train with: cat (5); "
        "nothing can learn what they look like"
    ]
    caplog.clear()
    many = {f"class {index}": 1 for index in range(1000)}
    check(Config(), DIGITS._replace(only_held_out=many))
    assert "class 4 (1) and 995 more;" in caplog.messages[0]


def test_what_will_be_left_out_is_said_beforehand(caplog):
    with caplog.at_level(logging.WARNING):
        check(config(train={"batch_size": 16}), FEW._replace(test=5))
    assert caplog.messages == [
        "judge.batch_size is 128, but there are only 24 images to train with: each of the judge's "
        "batches is all of them",
        "the evaluation leaves out precision, recall, density, coverage: it takes 6 held-out "
        "images, and there are 5",
    ]
    caplog.clear()
    check(config(train={"batch_size": 16}), FEW._replace(test=5), ["evaluate"])
    assert not caplog.messages  # it says so itself


counts = st.integers(1, 200)


@given(samples=counts, train=counts, test=counts, k=st.integers(1, 100), steps=st.integers(0, 1))
def test_what_so_few_images_do_not_allow(samples: int, train: int, test: int, k: int, steps: int):
    wanted = EvaluateConfig(neighbours=k, inception_splits=7, neural_steps=steps)
    found = left_out(wanted, "images", samples=samples, train=train, test=test)
    least = min(samples, train, test)
    assert ("fd" in found) == ("kid" in found) == (least < 2)
    assert ("fd.infinity" in found) == (samples < 20 and least >= 2)
    for name in ("precision", "recall", "density", "coverage"):
        assert (name in found) == (least < k + 1)
    assert ("inception_score" in found) == (samples < 7)
    assert ("neural_divergences" in found) == (steps > 0 and least < 16)
    assert len(list(in_words(found))) == len(set(found.values()))
    assert left_out(wanted, "text", samples=samples, train=train, test=test) == {}
    assert left_out(wanted, "labels", samples=samples, train=train, test=test) == {}


def test_these_are_the_numbers_that_the_metrics_ask_for():
    rows = torch.randn(FEWEST_FOR_INFINITY, 3, generator=torch.Generator().manual_seed(0))
    distance_at_infinity(rows, moments(rows), 0)
    with pytest.raises(UserError, match="20"):
        distance_at_infinity(rows[1:], moments(rows), 0)
    assert FEWEST_FOR_NEURAL == 16
