"""What the videos of a catalog have in common: a YAML file, read strictly.

Names stand as they are written: `on` is a setting of a turn, not true. With values YAML guesses: `no` becomes false,
2026-01-01 a date and 12:30:45 the number 45045; a few hundred bytes of aliases unfold into gigabytes. Here each of
these is a fault with its line: texts that YAML would turn into something else are put in quotes, aliases and names
given twice are refused.
"""

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from model.config import CatalogDefaults
from storage.catalog.faults import Fault, Place, explain_all, name_place, show
from storage.catalog.json_line import MAX_DIGITS, TORN, has_torn_letters
from storage.foreign_text import read_text

MAX_BYTES = 2**17
MAX_DEPTH = 20
_KINDS = {f"tag:yaml.org,2002:{kind}": kind for kind in ("str", "int", "float", "bool", "null")}
_READ_AS = {"bool": "true or false", "int": "a number", "float": "a number", "timestamp": "a date"}
_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(?P<part>(\.[0-9]+)?([eE][-+]?[0-9]+)?)")
_PLACEHOLDER = {"turns": [{"prompt": "-"}]}


@dataclass
class _Reading:
    """The values of a YAML file as they are found, with the line of each and what is wrong."""

    lines: dict[Place, int] = field(default_factory=dict)
    wrong: list[tuple[Place, str]] = field(default_factory=list)


def read_defaults(path: Path | None) -> tuple[dict[str, Any], list[Fault]]:
    """The fields that a YAML file sets, for merging into each line, and every fault of the file.

    Faulty fields are left out, so that lines are not blamed for them.

    Raises:
        RequestError: the file cannot be read.
    """
    if path is None:
        return {}, []
    text = read_text(path, MAX_BYTES)
    reading = _Reading()
    try:
        root = _compose(text)
        fields = {} if root is None else _value(root, (), reading)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        said = fault.problem or fault.context or "cannot be read"
        return {}, [Fault(mark.line + 1 if mark else 1, "", f"cannot be read: {said}", path)]
    except yaml.YAMLError as fault:
        return {}, [Fault(1, "", f"cannot be read: {' '.join(str(fault).split())}", path)]
    if not isinstance(fields, dict):
        return {}, [Fault(1, "", "must be settings by name, as in `schedule: auto`", path)]
    wrong = [*reading.wrong, *_mistakes(fields, {place for place, _ in reading.wrong})]
    faults = [Fault(_line(place, reading.lines), name_place(place, {}), said, path) for place, said in wrong]
    bad = {place[0] if place else "" for place, _ in wrong}
    kept = {name: value for name, value in fields.items() if name not in bad and name in CatalogDefaults.model_fields}
    return kept | (_PLACEHOLDER if "turns" in bad or "" in bad else {}), sorted(faults, key=lambda fault: fault.line)


def merge(defaults: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """A line's fields over the defaults: settings inside settings one by one, lists as a whole."""
    merged = dict(defaults)
    for name, value in fields.items():
        below = merged.get(name)
        merged[name] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _mistakes(fields: dict[str, Any], known: set[Place]) -> list[tuple[Place, str]]:
    """What the settings say against the values, except where something is known to be wrong already."""
    try:
        CatalogDefaults.model_validate_json(json.dumps(fields), strict=True)
    except ValidationError as error:
        return [(place, said) for place, said in explain_all(error) if place not in known]
    return []


def _compose(text: str) -> yaml.Node | None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):  # bit by bit: depth costs the parser its square in time
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem=f"alias *{event.anchor}; write it out", problem_mark=event.start_mark)
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _value(node: yaml.Node, place: Place, reading: _Reading) -> Any:
    reading.lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, reading)
    if isinstance(node, yaml.SequenceNode):
        return [_value(inner, (*place, index), reading) for index, inner in enumerate(node.value)]
    return _scalar(node, place, reading)


def _mapping(node: yaml.MappingNode, place: Place, reading: _Reading) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            reading.wrong.append((place, f"has a list for a name in line {key.start_mark.line + 1}"))
            continue
        inner = (*place, key.value)
        if key.value in fields:
            reading.wrong.append((inner, f"is given twice, again in line {key.start_mark.line + 1}"))
        reading.lines.setdefault(inner, key.start_mark.line + 1)
        fields[key.value] = _value(value, inner, reading)
    return fields


def _scalar(node: yaml.Node, place: Place, reading: _Reading) -> Any:
    kind, text = _KINDS.get(node.tag), str(node.value)
    if kind == "str":
        if has_torn_letters(text):
            reading.wrong.append((place, TORN))
        return text
    if kind == "null":
        return None
    number = _number(text) if kind in ("int", "float") else None
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if number is not None:
        return number
    read_as = _READ_AS.get(node.tag.rpartition(":")[2], f"a {node.tag}")
    reading.wrong.append((place, f"{show(text)} would be read as {read_as}; put it in quotes if it is text"))
    return None


def _number(text: str) -> int | float | None:
    """A number as JSON has it; YAML's others (0x10, 017, 1_000, 12:30:45, .inf) are more often mistakes."""
    found = _NUMBER.fullmatch(text)
    if found is None or len(text) > MAX_DIGITS:
        return None
    number = float(text) if found["part"] else int(text)
    return number if math.isfinite(number) else None


def _line(place: Place, lines: dict[Place, int]) -> int:
    """The line of a place, or of the nearest thing around it that is there."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)
