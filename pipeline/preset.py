"""`python -m pipeline.preset NAME [key=value …]`: a published system's settings into params.yaml.

A preset is a small delta over the defaults of `gan.config`. Applying it sets every parameter to
the preset's value or its default, whatever was tried before, but for `seed` and `runtime`, which
are yours. Comments in the file are kept, and each change is printed. Pairs `key=value` come on top.
"""

from __future__ import annotations

import argparse
import difflib
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gan.config import Config, parse
from gan.errors import ConfigError, UserError
from gan.files import write_bytes
from pipeline.params import BAD_INPUT
from pipeline.paths import PARAMS

FOLDER = Path(__file__).resolve().parent.parent / "presets"
# A preset says what is played and on what; these say with which dice, and where.
KEPT = ("seed", "runtime")


def names() -> list[str]:
    """The presets there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> dict[str, Any]:
    """A preset: `about` and `source` (one line each) and `params`, the delta.

    Raises:
        ConfigError: there is none of that name; the message lists those there are.
    """
    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"there is no preset {name!r}; known: {', '.join(names())}{hint}")
    content: dict[str, Any] = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    return content


def resolve(name: str, pairs: Sequence[str] = ()) -> dict[str, Any]:
    """All parameters of preset `name` with `key=value` pairs on top, but for `seed` and `runtime`.

    Raises:
        ConfigError: an unknown preset, a pair that is not one, or values that are not valid.
    """
    values = Config().model_dump(exclude=set(KEPT))
    for key, value in _leaves(load(name).get("params") or {}):
        _put(values, key, value)
    for pair in pairs:
        name_of_key, equals, text = pair.partition("=")
        if not equals or not name_of_key:
            raise ConfigError(f"found {pair!r}, expected key=value, train.steps=2000 for example")
        try:
            value = YAML(typ="safe", pure=True).load(text)
        except YAMLError as error:
            raise ConfigError(f"{name_of_key}: {text!r} is not a YAML value: {error}") from error
        _put(values, tuple(name_of_key.split(".")), value)
    parse(Config, values, f"preset {name}")
    return values


def apply(name: str, pairs: Sequence[str] = (), path: Path = PARAMS) -> list[str]:
    """Write preset `name` into the parameters at `path`; comments and order are kept.

    Returns:
        One line for each parameter that changed.

    Raises:
        ConfigError: as `resolve`, or the file cannot be read; it is then unchanged.
    """
    yaml = YAML(pure=True)
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        document = yaml.load(path.read_text(encoding="utf-8"))
    except (OSError, YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    changed = []
    for key, value in _leaves(resolve(name, pairs)):
        before = _put(document, key, value)
        if before != value:
            changed.append(f"{'.'.join(key)}: {before!r} → {value!r}")
    text = io.StringIO()
    yaml.dump(document, text)
    write_bytes(path, text.getvalue().encode())
    return changed


def _leaves(
    values: Mapping[str, Any], prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def _put(values: Any, key: tuple[str, ...], value: Any) -> Any:
    """Set `key` in nested mappings, and return what was there before."""
    for part in key[:-1]:
        if not isinstance(values.get(part), Mapping):
            values[part] = {}
        values = values[part]
    before = values.get(key[-1])
    # An equal value stays as it was written, `2e-4` for example.
    if before != value or isinstance(before, bool) != isinstance(value, bool):
        values[key[-1]] = value
    return before


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.preset",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", help="which preset")
    parser.add_argument("pairs", nargs="*", metavar="key=value", help="set on top of the preset")
    parser.add_argument("--list", action="store_true", help="show every preset and its source")
    options = parser.parse_args(arguments)
    if options.list or options.name is None:
        for name in names():
            preset = load(name)
            print(f"{name:<24} {preset['about']} [{preset['source']}]")
        return 0
    try:
        changed = apply(options.name, options.pairs)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    for line in changed:
        print(line)
    print(f"{PARAMS}: {len(changed)} parameters changed; now run `dvc repro`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
