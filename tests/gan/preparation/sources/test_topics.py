from __future__ import annotations

import sys

import numpy as np
import pytest

from gan.config import DataConfig
from gan.errors import UserError
from gan.preparation.sources import open_source


def test_lines_of_english() -> None:
    source = open_source(DataConfig(name="topics"))
    batches = list(source.batches)
    symbols = np.concatenate([batch.examples for batch in batches])
    held_out = np.concatenate([batch.in_test for batch in batches])
    assert source.alphabet is not None
    assert source.alphabet.size <= 96
    lines = source.alphabet.decode(symbols)
    assert len(lines) > 5000
    assert 'The simple form, "assert express' in lines
    assert 0.15 < held_out.mean() < 0.25
    train = {line for line, held in zip(lines, held_out, strict=True) if not held}
    test = {line for line, held in zip(lines, held_out, strict=True) if held}
    assert not train & test


def test_a_python_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(UserError, match=r"data.name is topics, but this Python comes without"):
        open_source(DataConfig(name="topics"))
