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

A value is YAML, `train.betas=[0.0, 0.9]`, but that of a key that is text is taken as it is,
`'data.path=/data/set #2'`; a `~` at the beginning of a path is the home folder.

Every other parameter goes back to its default, whatever was tried before, but for `seed` and
`runtime`, which are yours. Comments in the file are kept, and each change is printed.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import io
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel
from ruamel.yaml import YAML

from gan.command import run
from gan.config import Config, parse
from gan.config.parsing import found
from gan.errors import ConfigError, UserError, reading, shown
from gan.files import write_bytes
from pipeline.mend import mend
from pipeline.params import check_path
from pipeline.paths import PARAMS
from pipeline.yaml_text import parse_yaml, read_text

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
        raise ConfigError(
            f"there is no preset '{shown(name, 60)}'; known: {', '.join(names())}{hint}"
        )
    content: dict[str, Any] = parse_yaml(read_text(path), shown(path))
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
    source = " ".join(["preset", *presets])
    check_path(parse(Config, values, source).data.path, source)
    return values


def overridden(presets: Sequence[str], pairs: Sequence[str] = ()) -> list[Overridden]:
    """What `presets` disagree on, and which of them has its way; not what a pair decides anyway.

    Raises:
        ConfigError: an unknown preset, two games or two data, or a pair that is not one.
    """
    given = _parsed(pairs)
    replaced = _stacked(presets, given)[1]
    return [each for each in replaced if tuple(each.key.split(".")) not in given]


def _parsed(pairs: Sequence[str]) -> dict[tuple[str, ...], Any]:
    values: dict[tuple[str, ...], Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ConfigError(
                f"found '{shown(pair)}', expected key=value, train.steps=2000 for example"
            )
        key = tuple(name.split("."))
        values[key] = (
            _path(text)
            if key == ("data", "path")
            else text
            if _is_text(key)
            else parse_yaml(text, f"the value of {shown(name)}, '{shown(text, 60)}',")
        )
    return values


def _path(text: str) -> str:
    """A path as a shell would have it: most leave a `~` behind a `=` alone."""
    try:
        path = str(Path(text).expanduser()) if text.startswith("~") else text
        path.encode()
    except RuntimeError as error:
        raise ConfigError(f"data.path={shown(text)}: {shown(error)}") from None
    except UnicodeEncodeError:
        raise ConfigError(
            f"data.path={shown(text)}: the name is not UTF-8, which {PARAMS} is; expected another "
            "name, or a link to it"
        ) from None
    return path


def _is_text(key: tuple[str, ...]) -> bool:
    """Whether the values of `key` are text, any or one of several."""
    section: Any = Config
    for part in key:
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return False
        if part not in section.model_fields:
            return False
        section = section.model_fields[part].annotation
    return section is str or (
        typing.get_origin(section) is typing.Literal
        and all(isinstance(each, str) for each in typing.get_args(section))
    )


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
    content, source = read_text(path), shown(path)
    if not isinstance(parse_yaml(content, source), dict):
        raise ConfigError(f"{source}: expected a mapping of sections")
    with reading(path, "YAML 1.2", ConfigError):
        document = yaml.load(content)
    changed = []
    for key, value in _leaves(resolve(presets, pairs)):
        before = _put(document, key, value)
        if before != value:
            changed.append(f"{'.'.join(key)}: {found(before)} → {found(value)}")
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
    return run(functools.partial(_main, arguments))


def _main(arguments: Sequence[str] | None) -> None:
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
        return
    if not presets:
        raise ConfigError(f"found '{shown(pairs[0])}' alone, expected the name of a preset")
    changed = apply(presets, pairs)
    for line in changed:
        print(line)
    for replaced in overridden(presets, pairs):
        print(f"note: {replaced}")
    try:
        for mended in mend():  # so that what is run now can run
            print(f"mended: {mended}")
    except UserError as error:
        print(f"warning: {error}", file=sys.stderr)
    print(f"{PARAMS}: {len(changed)} parameters changed; now run `dvc repro`")


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
