import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from gan.config import Config
from pipeline.schema import SCHEMA, schema

ROOT = Path(__file__).parents[2]


def test_the_committed_schema_is_that_of_the_configuration():
    """`python -m pipeline.schema` writes it anew."""
    assert json.loads((ROOT / SCHEMA).read_text()) == schema()


def test_the_parameters_name_it():
    first = (ROOT / "params.yaml").read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema={SCHEMA}"


def sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    found = [model]
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += sections(field.annotation)
    return found


# What a name and a type say by themselves.
PLAIN = {
    "seed", "batch_size", "learning_rate", "latent_size", "generator_optimiser",
    "discriminator_optimiser", "generator_learning_rate", "discriminator_learning_rate", "count",
    "kid_subsets", "kid_subset_size", "inception_splits",
}  # fmt: skip


@pytest.mark.parametrize("section", sections(Config))
def test_every_key_is_explained(section: type[BaseModel]):
    for name, field in section.model_fields.items():
        is_section = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        assert is_section or field.description or name in PLAIN, name
