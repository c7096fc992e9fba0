import pytest
import torch

from gan.config import ModelConfig
from gan.models import build_generator
from gan.models.base import categorical_logits, evaluating
from gan.symbols import Characters, ClassNames, Colours


def test_the_logit_of_a_bernoulli_as_two():
    logits = torch.tensor([[-1.0, 0.0, 3.0]], dtype=torch.bfloat16)
    two = categorical_logits(logits, 2)
    assert two.shape == (1, 2, 3)
    assert two.dtype == torch.float32
    torch.testing.assert_close(two.softmax(1)[:, 1], logits.float().sigmoid())
    many = torch.randn(1, 4, 3)
    assert torch.equal(categorical_logits(many, 4), many)


@pytest.mark.parametrize(
    ("model", "shape", "alphabet", "kind"),
    [
        ("dcgan", (1, 8, 8), None, "images"),
        ("dcgan", (1, 8, 8), Colours.levels(2), "images"),
        ("mlp", (2,), None, "points"),
        ("text", (6,), Characters(("a", "b")), "text"),
        ("classifier", (1, 8, 8), ClassNames(("a", "b")), "labels"),
    ],
)
def test_a_generator_knows_the_kind_of_its_examples(model, shape, alphabet, kind: str):
    config = ModelConfig(name=model, latent_size=3, generator_width=4, depth=2)
    assert build_generator(config, shape, alphabet).kind == kind


def test_evaluation_mode_lasts_for_the_block():
    network = torch.nn.BatchNorm1d(2)
    for training in (True, False):
        network.train(training)
        with evaluating(network) as found:
            assert found is network
            assert not network.training
        assert network.training is training
