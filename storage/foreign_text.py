"""Text files that others wrote: lists, settings, indices. Read within bounds, and parsed without surprises.

A pipe under the name of a list would hang, a gigabyte of brackets ends the interpreter's stack, and a YAML file of 300
bytes can name itself into billions of values. Knows nothing of what the text means.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from model.errors import RequestError

MOST_BYTES = 64 * 2**20
MOST_VALUES = 1_000_000


class TextError(ValueError):
    """Text that is not of its kind: one line without the file's name. `line` is where, from 1, if that is known."""

    def __init__(self, fault: str, line: int | None = None) -> None:
        super().__init__(fault)
        self.line = line


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """A text file in UTF-8.

    Raises:
        RequestError: it is missing, no regular file, larger than `most_bytes`, or no UTF-8.
    """
    if not path.exists():
        raise RequestError(f"{path}: no such file")
    if not path.is_file():
        raise RequestError(f"{path}: is no regular file; give a text file")
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise RequestError(f"{path}: is larger than {most_bytes:,} bytes; split it")
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise RequestError(f"{path}: cannot be read ({type(fault).__name__}); expected text in UTF-8") from None


def parse_json(text: str) -> Any:
    """What a JSON text says.

    Raises:
        TextError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as fault:
        raise TextError(f"not JSON: {fault.msg}", fault.lineno) from None
    except ValueError as fault:  # a number of more digits than Python converts
        raise TextError(f"not JSON: {fault}") from None
    except RecursionError:
        raise TextError("not JSON: nested too deeply") from None


def parse_yaml(text: str) -> tuple[Any, yaml.Node | None]:
    """What a YAML text says, and the same as a tree that knows its lines.

    Raises:
        TextError: it is no YAML, nested too deeply, makes objects, or is huge or endless once `*name` is written out.
    """
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        if tree is not None and _written_out(tree, {}) > MOST_VALUES:
            raise TextError(f"not accepted: more than {MOST_VALUES:,} values once repetitions are written out")
        return yaml.safe_load(text), tree
    except yaml.MarkedYAMLError as fault:
        line = fault.problem_mark.line + 1 if fault.problem_mark else 1
        raise TextError(f"not YAML: {fault.problem}", line) from None
    except yaml.YAMLError as fault:
        raise TextError(f"not YAML: {' '.join(str(fault).split())}") from None
    except RecursionError:
        raise TextError("not YAML: nested too deeply, or in itself") from None


def _written_out(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """How many values a node has once each repetition stands for itself; one that is inside itself never ends."""
    if node not in known:
        inner = node.value if isinstance(node, yaml.SequenceNode | yaml.MappingNode) else []
        parts = [part for each in inner for part in (each if isinstance(each, tuple) else (each,))]
        known[node] = 1 + sum(_written_out(part, known) for part in parts)
    return known[node]
