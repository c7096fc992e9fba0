import runpy
from pathlib import Path

import pytest

import kernels
from kernels.losses.card import affine, markdown, plain, term
from kernels.losses.curves import EXPONENTIAL, IDENTITY, PARABOLA, SOFTPLUS, TANH
from kernels.losses.definitions import DISCRIMINATOR_LOSSES, DIVERGENCES, GENERATOR_LOSSES, Term

ROOT = Path(kernels.__file__).parents[1]


@pytest.mark.parametrize(
    ("each", "text"),
    [
        (Term(SOFTPLUS), "sp(F)"),
        (Term(SOFTPLUS, offset=-0.6931471805599453), "sp(F) − log 2"),
        (Term(EXPONENTIAL, rate=-0.5, scale=-1.0, offset=1.0), "1 − exp(−½F)"),
        (Term(EXPONENTIAL, rate=-1.0, scale=-1.0), "−exp(−F)"),
        (Term(EXPONENTIAL, shift=-1.0), "exp(F − 1)"),
        (Term(EXPONENTIAL, scale=2.0, offset=-2.0), "2 exp(F) − 2"),
        (Term(TANH, scale=0.5), "½ tanh(F)"),
        (Term(IDENTITY, offset=1.0), "F + 1"),
        (Term(PARABOLA), "F²/4 + F"),
        (Term(TANH, scale=-0.5, offset=3.0), "3 − ½ tanh(F)"),
    ],
)
def test_formulas_are_written_from_the_numbers(each: Term, text: str) -> None:
    assert term(each) == text


def test_affine() -> None:
    assert [affine(1, 0), affine(2, 0), affine(-1, 0.25)] == ["F", "2F", "−F + 0.25"]


def test_the_card_names_every_loss() -> None:
    card = plain()
    for name in (*DIVERGENCES, *DISCRIMINATOR_LOSSES, *GENERATOR_LOSSES):
        assert f"\n{name} " in card


def test_the_documentation_has_the_table() -> None:
    path = ROOT / "docs" / "losses.md"
    text = path.read_text(encoding="utf-8")
    begin, end = "<!-- python -m kernels.losses --markdown -->\n\n", "\n\n<!-- end -->"
    table = text.partition(begin)[2].partition(end)[0]
    assert table == markdown(), (
        f"{path}: replace its table by `python -m kernels.losses --markdown`"
    )


def test_it_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (([], plain()), (["--markdown"], markdown())):
        monkeypatch.setattr("sys.argv", ["losses", *arguments])
        runpy.run_module("kernels.losses", run_name="__main__")
        assert capsys.readouterr().out == expected + "\n"
