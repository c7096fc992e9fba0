"""Reading `params.yaml`, and what every stage does around its work."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gan.config import Config, parse
from gan.errors import ConfigError, TrainingError, UserError
from pipeline.paths import PARAMS

# What a stage exits with: the input is bad; the work failed; someone stopped it (128 + SIGINT).
BAD_INPUT, FAILED, STOPPED = 2, 1, 130


def read_config(path: Path = PARAMS) -> Config:
    """Read and check the parameters, as YAML 1.2 like DVC itself.

    Raises:
        ConfigError: the file is missing or not YAML, or lists every key that is wrong.
    """
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: found {type(values).__name__}, expected a mapping of sections")
    return parse(Config, values, str(path))


def run_stage(stage: Callable[[Config], None]) -> None:
    """Read the parameters, run `stage`, and end the process with the exit status it deserves."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        stage(read_config())
    except TrainingError as error:
        sys.exit(_say(error, FAILED))
    except UserError as error:
        sys.exit(_say(error, BAD_INPUT))
    except KeyboardInterrupt:
        sys.exit(STOPPED)


def _say(error: Exception, status: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return status
