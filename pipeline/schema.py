"""Write `params.schema.json`, by which editors complete, explain and check `params.yaml`.

    python -m pipeline.schema

It is derived from the sections of the configuration, which alone have types and descriptions.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from gan.command import run
from gan.config import Config
from gan.files import write_json

SCHEMA = Path("params.schema.json")


def schema() -> dict[str, Any]:
    """JSON Schema of `params.yaml`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def main() -> None:
    """Write the file."""
    write_json(SCHEMA, schema())


if __name__ == "__main__":
    sys.exit(run(main))
