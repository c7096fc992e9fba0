"""Do the wheels live beside Hugging Face's `kernels`, transformers and diffusers, in any order?

    python -m benchmarks.installs [--below VENV] [--only WORDS]

Builds the wheels `fusedgan-kernels` and `fusedgan` and their sdists from a copy of the checkout,
and makes an environment for each way to install them: alone, before and after Hugging Face's
package, as editable, copied under another name, not at all. In each, programs import and use what
must be there: our operators on numbers that are known, `gan`, Hugging Face's package, and models
of transformers and diffusers that look for it. Every operator of ours must be registered once an
instance. Uninstalling one package must leave the others working, and `pip check` be content.

What all have in common, PyTorch among it, is installed once, in an environment that the others see
(`--below` names one that is there already). It comes from where pip takes packages; nothing else
is fetched.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tarfile
import tempfile
import textwrap
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import ROOT, Environment, FailedError, copy_checkout
from benchmarks.report import RESULTS, TableRow, print_table, write_csv

# Of one time: the newest transformers that takes this version of `kernels`.
THEIRS = "kernels==0.17.2"
PEERS = ("transformers==5.22.2", "diffusers==0.42.1")
# With Triton, around whose kernels operators are registered.
OURS = (
    "einops", "filelock", "numpy", "pillow", "pydantic", "safetensors", "torch", "tqdm", "triton",
)  # fmt: skip

# Programs: what must hold, and what it is called.
_VALUES = """
    import torch
    real = torch.zeros(3, requires_grad=True)
    package.discriminator_loss(real, torch.zeros(5)).backward()
    assert torch.allclose(real.grad, torch.full((3,), -1 / 6)), real.grad
    x = torch.randn(2, 4, 5, 5)
    assert package.ConvTransposeBlock(4, 3)(x).shape == (2, 3, 10, 10)
    assert package.sample_bernoulli(torch.zeros(2, 3), 5, seed=0).symbols.shape == (5, 2, 3)
    assert "generator_loss" in package.explain()
    import importlib
    importlib.import_module(f"{package.__name__}.losses.autograd")
"""
_ONCE = """
    import sys
    modules = [m for n, m in sys.modules.items() if n.endswith("losses.twin")]
    assert len(set(map(id, modules))) == INSTANCES, modules
    names = [n for n in torch._C._dispatch_get_all_op_names() if "::adversarial_loss" in n]
    assert len(names) == 2 * INSTANCES, names
"""
_THEIRS = """
    import kernels
    from kernels import LayerRepository, get_kernel, use_kernel_forward_from_hub
    assert kernels.__version__ == "0.17.2", kernels.__version__
"""
_GAN = """
    import gan.game.objectives, gan.models.dcgan
    import fusedgan_kernels as package
    assert gan.models.dcgan.ConvTransposeBlock is package.ConvTransposeBlock
"""
_PEERS = """
    import torch
    from transformers.models.llama.modeling_llama import LlamaConfig, LlamaForCausalLM
    from transformers.utils.import_utils import is_kernels_available
    assert is_kernels_available() is WITH_THEIRS
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=32, num_hidden_layers=1, **sizes))
    assert model(torch.arange(4)[None]).logits.shape == (1, 4, 32)
    from diffusers import UNet2DModel
    from diffusers.models import attention_dispatch
    from diffusers.utils import is_kernels_available as is_available
    assert is_available() is WITH_THEIRS
    channels = {"block_out_channels": (8, 8), "norm_num_groups": 4}
    blocks = {
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    unet = UNet2DModel(sample_size=8, in_channels=1, out_channels=1, **channels, **blocks)
    assert unet(torch.zeros(1, 1, 8, 8), 1).sample.shape == (1, 1, 8, 8)
"""
_FOLDER = """
    import kernels
    assert kernels is fusedgan_kernels
    import kernels.losses.autograd, fusedgan_kernels.losses.autograd
    assert kernels.losses.autograd is fusedgan_kernels.losses.autograd
"""
_AS_WHEEL = "import fusedgan_kernels, fusedgan_kernels as package\n"

Check = Callable[["Place"], None]


@dataclass(frozen=True)
class Built:
    """What all cases start from."""

    work: Path
    below: Environment
    checkout: Path
    kernels: str  # the wheels
    gan: str


@dataclass(frozen=True)
class Place:
    """An environment, and the folder that a case's programs run in."""

    built: Built
    environment: Environment
    folder: Path

    def run(
        self, *programs: str, instances: int = 1, safe: bool = False, theirs: bool = True
    ) -> None:
        """Run the programs one after the other in one process.

        Args:
            programs: lines of Python.
            instances: of our package there must be that many.
            safe: without the folder on the path, as `python -P` does.
            theirs: whether Hugging Face's package is there.
        """
        names = f"INSTANCES, WITH_THEIRS = {instances}, {theirs}\n"
        code = names + "".join(map(textwrap.dedent, programs))
        self.environment.python(*(["-P"] if safe else []), "-c", code, cwd=self.folder)

    def module(self, *arguments: str, expected: str) -> None:
        """Run `python -m` with the arguments, which must print what is `expected`."""
        printed = self.environment.python("-m", *arguments, cwd=self.folder)
        if expected not in printed:
            raise FailedError(f"expected {expected!r} in what {arguments[0]} prints")

    def pip(self, *arguments: str) -> None:
        """Run pip; what it installs is on disk or below, unless it is Hugging Face's."""
        self.environment.pip(*arguments, cwd=self.built.work)

    def install_ours(self) -> None:
        """Both wheels."""
        self.pip("install", "--no-index", self.built.kernels, self.built.gan)

    def install_editable(self) -> None:
        """The checkout, as `make setup` does."""
        folders = (f"{self.built.checkout}/kernels", str(self.built.checkout))
        editable = [word for folder in folders for word in ("-e", folder)]
        self.pip("install", "--no-index", "--no-build-isolation", *editable)

    def install_theirs(self) -> None:
        """Hugging Face's package."""
        self.pip("install", THEIRS)

    def check(self) -> None:
        """Whether pip finds all requirements met."""
        self.pip("check")


def kernels_alone(place: Place) -> Iterator[str]:
    """`fusedgan-kernels` and nothing else of ours."""
    place.pip("install", "--no-index", place.built.kernels)
    yield "installed"
    place.run(_AS_WHEEL, _VALUES, _ONCE)
    yield "computes"
    place.module("fusedgan_kernels.tune", "--help", expected="python -m fusedgan_kernels.tune")
    yield "python -m fusedgan_kernels.tune"
    place.module("fusedgan_kernels.losses", expected="relativistic")
    yield "python -m fusedgan_kernels.losses"
    place.run(_PEERS, theirs=False)
    yield "transformers and diffusers without kernels"
    place.check()
    yield "pip check"


def _together(place: Place) -> Iterator[str]:
    place.check()
    yield "pip check"
    place.run(_AS_WHEEL, _VALUES, _GAN, _ONCE, _THEIRS, _PEERS)
    yield "ours, then theirs and its users"
    place.run(_PEERS, _THEIRS, _GAN, _AS_WHEEL, _VALUES, _ONCE)
    yield "its users and theirs, then ours"


def ours_first(place: Place) -> Iterator[str]:
    """Our wheels, then Hugging Face's, which is then uninstalled."""
    place.install_ours()
    yield "ours installed"
    place.install_theirs()
    yield "theirs installed"
    yield from _together(place)
    place.pip("uninstall", "--yes", "kernels")
    place.run(_GAN, _VALUES, _ONCE)
    place.run(_PEERS, theirs=False)
    place.check()
    yield "theirs uninstalled: ours work"


def theirs_first(place: Place) -> Iterator[str]:
    """Hugging Face's, then our wheels, which are then uninstalled."""
    place.install_theirs()
    yield "theirs installed"
    place.install_ours()
    yield "ours installed"
    yield from _together(place)
    place.pip("uninstall", "--yes", "fusedgan", "fusedgan-kernels")
    place.run(_THEIRS, _PEERS)
    place.check()
    yield "ours uninstalled: theirs works"


def editable(place: Place) -> Iterator[str]:
    """The checkout as `make setup` installs it, with Hugging Face's beside it."""
    place.install_editable()
    yield "ours installed as editable"
    place.install_theirs()
    yield "theirs installed"
    yield from _together(place)
    inside = Place(place.built, place.environment, place.built.checkout)
    inside.run(_AS_WHEEL, _FOLDER, _GAN, _VALUES, _ONCE)
    inside.run("import kernels\n", _AS_WHEEL, _FOLDER, _GAN, _VALUES, _ONCE)
    yield "in the checkout: one package by both names, in either order"
    inside.run(_AS_WHEEL, _VALUES, _GAN, _ONCE, _THEIRS, _PEERS, safe=True)
    yield "in the checkout, python -P: kernels is theirs"
    inside.run(
        f"import sys; sys.path.append(sys.path.pop(0))\nimport kernels\n{_AS_WHEEL}",
        _GAN, _VALUES, _ONCE, _THEIRS, _PEERS,
    )  # fmt: skip
    yield "the checkout at the end of the path: kernels is theirs"


def checkout_alone(place: Place) -> Iterator[str]:
    """Nothing of ours is installed; the checkout is the current folder."""
    inside = Place(place.built, place.environment, place.built.checkout)
    inside.run(_AS_WHEEL, _FOLDER, _GAN, _VALUES, _ONCE)
    inside.run("import kernels\n", _AS_WHEEL, _FOLDER, _GAN, _VALUES, _ONCE)
    yield "one package by both names, in either order"
    inside.module("fusedgan_kernels.losses", expected="relativistic")
    inside.module("kernels.losses", expected="relativistic")
    inside.module("fusedgan_kernels.tune", "--help", expected="python -m kernels.tune")
    yield "python -m, by both names"
    place.install_theirs()
    path = f"import sys; sys.path.append({str(place.built.checkout)!r})\n"
    place.run(path, _AS_WHEEL, _GAN, _VALUES, _ONCE, _THEIRS, _PEERS)
    yield "at the end of the path, beside theirs"


def copied(place: Place) -> Iterator[str]:
    """The folder copied into a project under another name, beside the wheel."""
    place.pip("install", "--no-index", place.built.kernels)
    shutil.copytree(place.built.checkout / "kernels", place.folder / "ops")
    place.run("import ops as package\n", _VALUES, _ONCE)
    yield "the copy alone"
    place.run(_AS_WHEEL, _VALUES, "import ops as package\n", _VALUES, _ONCE, instances=2)
    yield "two instances side by side"


def sdists(place: Place) -> Iterator[str]:
    """What the sdists have, and wheels from them."""
    for folder, wheel in (("kernels", place.built.kernels), (".", place.built.gan)):
        source = place.built.checkout / folder
        build = (
            "import sys; from setuptools.build_meta import build_sdist as b; print(b(sys.argv[1]))"
        )
        name = place.environment.python("-c", build, str(place.folder), cwd=source).split()[-1]
        with tarfile.open(place.folder / name) as archive:
            archive.extractall(place.folder, filter="data")
        unpacked = place.folder / name.removesuffix(".tar.gz")
        out = place.folder / "wheels"
        options = ("--no-deps", "--no-build-isolation", "--wheel-dir", str(out))
        place.pip("wheel", *options, str(place.folder / name))
        again = contents(out / Path(wheel).name)
        if again != contents(Path(wheel)):
            raise FailedError(f"the wheel from {name} differs from that of the checkout")
        yield f"{name}: the same wheel"
    missing = [each for each in SOURCE if not (unpacked / each).exists()]
    if missing:
        raise FailedError(f"{name} lacks {', '.join(missing)}")
    yield f"{name}: tests and documents"
    inside = Place(place.built, place.environment, unpacked)
    inside.run(_AS_WHEEL, _FOLDER, _GAN, _VALUES, _ONCE)
    yield f"{name}: works where it is unpacked"


SOURCE = (
    "tests/kernels/test_package.py", "tests/gan/test_code.py", "docs/losses.md", "README.md",
    "LICENSE", "CHANGELOG.md", "constraints.txt", "dvc.yaml", "params.yaml", "presets/digits.yaml",
    "benchmarks/installs.py", "kernels/pyproject.toml", "kernels/README.md", "pipeline/python.sh",
)  # fmt: skip
CASES = {
    case.__name__.replace("_", " "): case
    for case in (
        kernels_alone, ours_first, theirs_first, editable, checkout_alone, copied, sdists,
    )
}  # fmt: skip


def contents(wheel: Path) -> dict[str, bytes]:
    """A wheel's files, but the list of their digests."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if "RECORD" not in name}


def build(work: Path, below: Environment) -> Built:
    """Copy the checkout and build the wheels."""
    checkout = work / "checkout"
    copy_checkout(checkout)
    # Wheels are built elsewhere: a build leaves files that the next would take.
    shutil.copytree(checkout, work / "to_build")
    builder = Environment.create(work / "builder", below)
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", str(work / "wheels"))
    builder.pip("wheel", *options, "./kernels", ".", cwd=work / "to_build")
    (kernels,) = work.glob("wheels/fusedgan_kernels-*.whl")
    (gan,) = work.glob("wheels/fusedgan-*.whl")
    return Built(work, below, checkout, str(kernels), str(gan))


def shared(folder: Path) -> Environment:
    """An environment with what ours and theirs need, and those who look for theirs."""
    environment = Environment.create(folder)
    constraints = ("-c", str(ROOT / "constraints.txt"))
    environment.pip("install", *constraints, *OURS, "setuptools>=77", cwd=ROOT)
    environment.pip("install", *PEERS, THEIRS, cwd=ROOT)
    environment.pip("uninstall", "--yes", "kernels", cwd=ROOT)  # what it needs stays
    return environment


def rows_of(name: str, built: Built) -> Iterator[TableRow]:
    """One row for each thing that a case has shown, up to the first that fails."""
    folder = built.work / name.replace(" ", "_")
    place = Place(built, Environment.create(folder / "venv", built.below), folder / "project")
    place.folder.mkdir()
    shown = "the beginning"
    try:
        for shown in CASES[name](place):
            yield {"case": name, "shown": shown, "result": "right"}
    except FailedError as error:
        yield {"case": name, "shown": f"after: {shown}", "result": str(error)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 1 where something is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.installs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--below", type=Path, help="an environment that `shared` has made")
    parser.add_argument("--only", nargs="+", choices=tuple(CASES), help="these cases")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="installs_") as work:
        there = options.below is not None and options.below.exists()
        folder = (options.below or Path(work) / "below").absolute()
        below = Environment(folder) if there else shared(folder)
        built = build(Path(work), below)
        rows: list[TableRow] = []
        for name in options.only or CASES:
            for row in rows_of(name, built):
                rows.append(row)
                print(f"{row['case']}: {row['shown']}: {row['result']}", flush=True)
    print()
    print_table(rows)
    wrong = sum(row["result"] != "right" for row in rows)
    print(f"\n{len(rows) - wrong} right, {wrong} wrong")
    if options.only is None:
        write_csv(RESULTS / "installs.csv", rows)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
