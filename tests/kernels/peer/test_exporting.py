"""Networks that leave Python: exported, traced, as ONNX. The same numbers as in eager mode."""

import io

import pytest
import torch
from torch import Tensor, nn

import kernels
from tests.kernels.peer.textbook import IMAGE, LATENT, draw, match, ours, textbook

DYNAMIC = ({0: torch.export.Dim("batch")},)
# PyTorch's own, where it decomposes.
pytestmark = pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.:FutureWarning")
ARITHMETIC = ("conv_transpose2d.input", "batch_norm", "relu", "tanh")
NETWORKS = {"generator": LATENT, "discriminator": IMAGE}


def trained(which: str) -> nn.Sequential:
    """One of ours with statistics that are not the initial ones, in fp32."""
    network: nn.Sequential = getattr(ours(torch.float32), which)
    for seed in range(3):
        network(draw(seed, 4, NETWORKS[which]).float())
    return network


def saved_and_loaded(program: torch.export.ExportedProgram) -> nn.Module:
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return torch.export.load(file).module()


@pytest.mark.parametrize("which", NETWORKS)
def test_exported_for_any_batch(which: str) -> None:
    network = trained(which).eval()
    shape = NETWORKS[which]
    example = (draw(0, 3, shape).float(),)
    program = torch.export.export(network, example, dynamic_shapes=DYNAMIC)
    assert set(program.state_dict) == set(network.state_dict())
    loaded = saved_and_loaded(program)
    for count in (2, 7):
        x = draw(count, count, shape).float()
        torch.testing.assert_close(loaded(x), network(x), rtol=1e-5, atol=1e-6)


def test_exported_in_training_mode() -> None:
    """Statistics move in the exported program too."""
    network = trained("generator")
    example = (draw(0, 3).float(),)
    loaded = saved_and_loaded(torch.export.export(network, example, dynamic_shapes=DYNAMIC))
    for count in (2, 7):
        x = draw(count, count).float()
        torch.testing.assert_close(loaded(x), network(x), rtol=1e-4, atol=1e-5)
    state = dict(loaded.state_dict())
    assert int(state["0.1.num_batches_tracked"]) == 5
    match({name: state[name] for name in network.state_dict()}, dict(network.state_dict()))


def test_decomposed() -> None:
    network = trained("generator").eval()
    x = draw(0, 3).float()
    program = torch.export.export(network, (x,), dynamic_shapes=DYNAMIC).run_decompositions()
    assert all("kernels" not in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(x), network(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("which", NETWORKS)
def test_as_onnx_for_any_batch(which: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = trained(which).eval()
    shape = NETWORKS[which]
    program = torch.onnx.export(
        network,
        (draw(0, 3, shape).float(),),
        input_names=["x"],
        dynamo=True,
        dynamic_shapes=DYNAMIC,
        verbose=False,
    )
    assert program is not None
    session = runtime.InferenceSession(program.model_proto.SerializeToString())
    for count in (2, 7):
        x = draw(count, count, shape).float()
        (found,) = session.run(None, {"x": x.numpy()})
        torch.testing.assert_close(
            torch.from_numpy(found), network(x).detach(), rtol=1e-4, atol=1e-5
        )


@pytest.mark.filterwarnings("error::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("which", NETWORKS)
def test_traced_saved_and_loaded(which: str) -> None:
    network = trained(which).eval()
    shape = NETWORKS[which]
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(network, draw(0, 3, shape).float()), file)
    file.seek(0)
    loaded = torch.jit.load(file)
    for count in (1, 7):
        x = draw(count, count, shape).float()
        torch.testing.assert_close(loaded(x), network(x), rtol=1e-5, atol=1e-6)


class Step(nn.Module):
    """Both losses of what a discriminator says, for `torch.export`."""

    def __init__(self) -> None:
        super().__init__()
        self.of_discriminator = kernels.DiscriminatorLoss("hinge")
        self.of_generator = kernels.GeneratorLoss("non_saturating")

    def forward(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """0-d each."""
        return self.of_discriminator(real, fake), self.of_generator(fake)  # type: ignore[return-value]


def test_exported_losses() -> None:
    step = Step()
    example = draw(0, 3, ()), draw(1, 3, ())
    program = torch.export.export(step, example, dynamic_shapes=DYNAMIC * 2)
    loaded = saved_and_loaded(program)
    for count in (2, 7):
        logits = draw(2, count, ()), draw(3, count, ())
        torch.testing.assert_close(loaded(*logits), step(*logits))


def test_the_same_program_as_of_pytorchs_layers() -> None:
    def operators(network: nn.Module) -> list[str]:
        program = torch.export.export(network, (draw(0, 3),))
        calls = [node for node in program.graph.nodes if node.op == "call_function"]
        names = [str(node.target).removesuffix(".default").rstrip("_") for node in calls]
        return [name for name in names if name.partition(".")[2] in ARITHMETIC]

    first, second = ours().generator, textbook().generator
    assert operators(first) == operators(second)
    assert len(operators(first)) == 5
