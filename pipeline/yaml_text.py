"""YAML that people write, as YAML 1.2 like DVC itself: of a sane size, or refused by name."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from gan.errors import ConfigError, reading, shown

# Generous: all parameters with their comments are 8 kB, some hundred values, three deep.
MOST_BYTES = 1 << 18
MOST_VALUES = 10_000
MOST_CHARACTERS = 4096
DEEPEST = 20

_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_text(path: Path) -> str:
    """The text of `path`, UTF-8, without a byte order mark.

    Raises:
        ConfigError: the file cannot be read, is in another encoding, or far too large for one of
            parameters.
    """
    with reading(path, "a file of parameters", ConfigError), path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ConfigError(
            f"{shown(path)} is larger than {MOST_BYTES} bytes: expected a file of parameters"
        )
    for mark, encoding in _ENCODINGS.items():
        if content.startswith(mark):
            raise ConfigError(f"{shown(path)} is {encoding}: expected UTF-8; save it anew as that")
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{shown(path)} is not UTF-8: byte {content[error.start]:#04x} in line {line}; save it "
            "anew as that"
        ) from None


def parse_yaml(text: str, source: str) -> Any:
    """What `text` says, as plain values.

    Args:
        text: YAML 1.2.
        source: where from, for messages.

    Raises:
        ConfigError: it is not YAML, or unfolds into more than parameters ever are: aliases of
            aliases, for example.
    """
    with reading(source, "YAML 1.2", ConfigError):
        try:
            # Before anything is made of it: what is deep takes long, and aliases make a short text
            # a gigantic value.
            depth = 0
            for event in YAML(typ="safe", pure=True).parse(text):
                depth += isinstance(event, CollectionStartEvent)
                depth -= isinstance(event, CollectionEndEvent)
                if depth > DEEPEST:
                    raise _too_deep(source)
            node = YAML(typ="safe", pure=True).compose(text)
            if node is not None:
                _unfolded(node, source, {}, 0)
            loader = YAML(typ="safe", pure=True)
            try:
                return loader.load(text)
            except YAMLError:
                raise
            except Exception as error:
                raise _not_what_it_looks_like(node, source) from error
        except YAMLError as error:
            raise ConfigError(f"{source} is not valid YAML: {_reason(error)}") from None


def _reason(error: YAMLError) -> str:
    if not isinstance(error, MarkedYAMLError):
        return shown(" ".join(str(error).split()))
    mark = error.problem_mark or error.context_mark
    where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    parts = (each for each in (error.context, error.problem) if each)
    return where + ", ".join(shown(each) for each in parts)


def _unfolded(node: Node, source: str, known: dict[int, int], depth: int) -> int:
    """How many values `node` has in it, each alias as what it stands for."""
    if depth > DEEPEST:
        raise _too_deep(source)
    if id(node) in known:
        return known[id(node)]
    if isinstance(node, ScalarNode) and len(node.value) > MOST_CHARACTERS:
        raise ConfigError(
            f"{source}, line {node.start_mark.line + 1}: a value of {len(node.value)} characters, "
            f"{shown(node.value, 40)}: expected at most {MOST_CHARACTERS}"
        )
    count = 1
    for child in _children(node):
        count += _unfolded(child, source, known, depth + 1)
        if count > MOST_VALUES:
            raise ConfigError(
                f"{source} has more than {MOST_VALUES} values, aliases unfolded: expected "
                "parameters"
            )
    known[id(node)] = count
    return count


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [each for pair in node.value for each in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []


def _not_what_it_looks_like(node: Node, source: str) -> ConfigError:
    """The first value that cannot be made: a date with a thirteenth month, for example."""
    todo = [node]
    while todo:
        node = todo.pop()
        todo += reversed(_children(node))
        if isinstance(node, ScalarNode):
            try:
                YAML(typ="safe", pure=True).constructor.construct_object(node)
            except Exception as error:
                kind = str(node.tag).rpartition(":")[2]
                return ConfigError(
                    f"{source}, line {node.start_mark.line + 1}: {shown(node.value)} looks like "
                    f"{kind} and is none ({shown(error)}); text is to be in quotes"
                )
    return ConfigError(f"{source} cannot be understood: expected sections of parameters")


def _too_deep(source: str) -> ConfigError:
    return ConfigError(
        f"{source} is nested more than {DEEPEST} deep, or within itself: expected sections of "
        "parameters"
    )
