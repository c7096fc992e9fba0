"""`python -m pipeline.preset NAME [NAME …] [key=value …]`: published settings into params.yaml.

A preset is a small delta over the defaults of `gan.config`: a game, or data with the networks for
them. One of either can be given, in any order, and pairs `key=value` on top of both:

    python -m pipeline.preset wgan-gp                   that game on the default data
    python -m pipeline.preset wgan-gp toy-ring          and on a toy, with its networks and rates
    python -m pipeline.preset lsgan mnist train.steps=2000
    python -m pipeline.preset bgan-binary mnist         a game of symbols, on MNIST in two levels
    python -m pipeline.preset gumbel bgan-text          and on texts

Of what both set, the game decides what is under `objective`, and the data all else, learning rates
for example, which their size asks for; what gives way is printed. What a game's preset says of
points, in its section `points`, comes on top where the data are points. A game of symbols says how
many levels images are given, unless the data say how they become symbols.

Every other parameter goes back to its default, whatever was tried before, but for `seed` and
`runtime`, which are yours. Comments in the file are kept, and each change is printed.
"""

from __future__ import annotations

import argparse
import difflib
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
    """A preset: `about` and `source` (one line each), `params`, the delta, perhaps `points`.

    `points` is a further delta, for data that are points and not images.

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


def is_game(name: str) -> bool:
    """Whether a preset says what is played and nothing of the data it is played on."""
    return is_data_free(name) and "data" not in load(name)["params"]


def is_data_free(name: str) -> bool:
    """Whether a preset says what is played and not where data come from.

    A game of symbols may say how images become symbols, which data may say otherwise.
    """
    params = load(name)["params"]
    return "objective" in params and "name" not in params.get("data", {})


class Overridden(NamedTuple):
    """A value of one preset that another one's has replaced."""

    key: str
    preset: str
    value: Any
    by: str
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.by}'s {self.new!r} replaces {self.preset}'s {self.value!r}"


def resolve(presets: Sequence[str], pairs: Sequence[str] = ()) -> dict[str, Any]:
    """All parameters of `presets`, but for `seed` and `runtime`.

    Args:
        presets: a game, data, or both.
        pairs: `key=value`, on top of them.

    Raises:
        ConfigError: an unknown preset, two games or two data, a pair that is not one, or values
            that are not valid.
    """
    given = _parsed(pairs)
    values, _ = _stacked(presets, given)
    for key, value in given.items():
        _put(values, key, value)
    parse(Config, values, " ".join(["preset", *presets]))
    return values


def overridden(presets: Sequence[str], pairs: Sequence[str] = ()) -> list[Overridden]:
    """What `presets` disagree on, and which of them has its way; not what a pair decides anyway.

    Raises:
        ConfigError: an unknown preset, two games or two data, or a pair that is not one.
    """
    given = _parsed(pairs)
    found = _stacked(presets, given)[1]
    return [each for each in found if tuple(each.key.split(".")) not in given]


def _parsed(pairs: Sequence[str]) -> dict[tuple[str, ...], Any]:
    values = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"found {pair!r}, expected key=value, train.steps=2000 for example")
        try:
            values[tuple(key.split("."))] = YAML(typ="safe", pure=True).load(text)
        except YAMLError as error:
            raise ConfigError(f"{key}: {text!r} is not a YAML value: {error}") from error
    return values


def _stacked(
    presets: Sequence[str], given: Mapping[tuple[str, ...], Any]
) -> tuple[dict[str, Any], list[Overridden]]:
    """The defaults with `presets` on top, and what these disagree on.

    Of what is `given` on top of them only the kind of data matters here.
    """
    games = [name for name in presets if is_data_free(name)]
    data = [name for name in presets if not is_data_free(name)]
    for alike, what in ((games, "what is played"), (data, "what it is played on")):
        if len(alike) > 1:
            # Half of one under half of the other would be neither.
            raise ConfigError(
                f"found the presets {' and '.join(alike)}, which all say {what}: expected one"
            )
    values = Config().model_dump(exclude=set(KEPT))
    owners: dict[tuple[str, ...], str] = {}
    replaced = []

    def put(name: str, delta: Mapping[str, Any]) -> None:
        for key, value in _leaves(delta):
            before = _put(values, key, value)
            owner = owners.setdefault(key, name)
            if owner != name and before != value:
                replaced.append(Overridden(".".join(key), owner, before, name, value))
            owners[key] = name

    for name in data:
        put(name, {"objective": load(name)["params"].get("objective", {})})
    for name in games:
        put(name, _with_all_of_its_estimator(load(name)["params"]))
    for name in data:
        params = load(name)["params"]
        put(name, {section: params[section] for section in params if section != "objective"})
    if given.get(("data", "name"), values["data"]["name"]) in ("toy", "table"):
        for name in games:
            put(name, load(name).get("points", {}))
    return values, replaced


def _with_all_of_its_estimator(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """`params` with all of `objective.discrete` if it has any of it.

    What the estimator of the data's preset asks for, that of the game may have no use for.
    """
    objective = params.get("objective", {})
    if "discrete" not in objective:
        return params
    discrete = {**Config().objective.discrete.model_dump(), **objective["discrete"]}
    return {**params, "objective": {**objective, "discrete": discrete}}


def apply(presets: Sequence[str], pairs: Sequence[str] = (), path: Path = PARAMS) -> list[str]:
    """Write `presets` into the parameters at `path`; comments and order are kept.

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
    for key, value in _leaves(resolve(presets, pairs)):
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
    parser.add_argument(
        "names", nargs="*", metavar="NAME | key=value", help="presets, and values on top of them"
    )
    parser.add_argument("--list", action="store_true", help="show every preset and its source")
    options = parser.parse_args(arguments)
    presets = [name for name in options.names if "=" not in name]
    pairs = [pair for pair in options.names if "=" in pair]
    if options.list or not options.names:
        _print_list()
        return 0
    try:
        if not presets:
            raise ConfigError(f"found {options.names[0]!r} alone, expected the name of a preset")
        changed = apply(presets, pairs)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    for line in changed:
        print(line)
    for replaced in overridden(presets, pairs):
        print(f"note: {replaced}")
    print(f"{PARAMS}: {len(changed)} parameters changed; now run `dvc repro`")
    return 0


def _print_list() -> None:
    width = max(map(len, names()))
    titles = ("Games:", "Games of symbols:", "Data, and networks for them:")
    for kind, title in enumerate(titles):
        print(title)
        for name in names():
            if (0 if is_game(name) else 1 if is_data_free(name) else 2) == kind:
                preset = load(name)
                print(f"  {name:<{width}}  {preset['about']} [{preset['source']}]")


if __name__ == "__main__":
    sys.exit(main())
