"""Generators in the hands of tools that look at every attribute, trace, export or convert."""

import inspect

import pytest
import torch
from torch import Tensor

from gan.config import ModelConfig
from gan.models import build_generator
from gan.models.base import Generator
from gan.symbols import Alphabet, Characters, ClassNames, Colours

KINDS: dict[str, tuple[str, tuple[int, ...], Alphabet | None]] = {
    "images": ("dcgan", (3, 8, 8), None),
    "residual images": ("resnet", (1, 8, 8), None),
    "two colours": ("dcgan", (1, 8, 8), Colours.levels(2)),
    "colours": ("resnet", (1, 8, 8), Colours.levels(5)),
    "points": ("mlp", (2,), None),
    "text of two": ("text", (6,), Characters(("a", "b"))),
    "text": ("text", (6,), Characters(("a", "b", "c"))),
    "labels": ("classifier", (1, 8, 8), ClassNames(("a", "b", "c"))),
}


@pytest.fixture(params=KINDS)
def generator(request: pytest.FixtureRequest) -> Generator:
    name, shape, alphabet = KINDS[request.param]
    torch.manual_seed(0)
    config = ModelConfig(name=name, latent_size=5, generator_width=4, depth=1)
    built = build_generator(config, shape, alphabet)
    with torch.no_grad():
        # As after training: initial weights are small, and initial statistics do nothing.
        for name, value in built.state_dict().items():
            if name.endswith("running_mean"):
                value.uniform_(-0.1, 0.1)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif value.dim() > 1:
                torch.nn.init.kaiming_normal_(value)
    return built.eval()


def latent(generator: Generator, count: int) -> Tensor:
    return torch.randn(count, generator.latent_size, generator=torch.Generator().manual_seed(count))


def close(found: Tensor, expected: Tensor) -> None:
    assert expected.std() > 1e-2
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_every_attribute_can_be_read(generator: Generator):
    found = dict(inspect.getmembers(generator))
    assert found["kind"] == generator.kind
    assert (found["positions"] is None) == (generator.alphabet is None)


@pytest.mark.filterwarnings("error::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_traced(generator: Generator):
    traced = torch.jit.trace(generator, latent(generator, 3))
    for count in (1, 7):
        z = latent(generator, count)
        close(traced(z), generator(z))
        close(traced(z[:, :, None, None]), generator(z))


@pytest.mark.parametrize("generator", ["points"], indirect=True)
def test_traced_symbolically(generator: Generator):
    z = latent(generator, 3)
    close(torch.fx.symbolic_trace(generator)(z), generator(z))


def test_exported_for_any_batch(generator: Generator):
    dynamic = ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(generator, (latent(generator, 3),), dynamic_shapes=dynamic)
    for count in (2, 7):
        z = latent(generator, count)
        close(exported.module()(z), generator(z))


@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.:FutureWarning")
def test_as_onnx_for_any_batch(generator: Generator):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    dynamic = ({0: torch.export.Dim("batch")},)
    program = torch.onnx.export(
        generator, (latent(generator, 3),), dynamo=True, dynamic_shapes=dynamic, verbose=False
    )
    assert program is not None
    session = runtime.InferenceSession(program.model_proto.SerializeToString())
    for count in (2, 7):
        z = latent(generator, count)
        (found,) = session.run(None, {session.get_inputs()[0].name: z.numpy()})
        close(torch.from_numpy(found), generator(z).detach())
