"""Text files that others wrote: lists, settings, indices. Read within bounds, and parsed without surprises.

A pipe under the name of a list would hang, a gigabyte of brackets ends the interpreter's stack, and a YAML file of 300
bytes can name itself into billions of values. Knows nothing of what the text means.
"""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from model.errors import RequestError

MOST_BYTES = 64 * 2**20
MOST_VALUES = 1_000_000
MARK = b"\xef\xbb\xbf"  # that some editors put before UTF-8


class TextError(ValueError):
    """Text that is not of its kind: one line without the file's name. `line` is where, from 1, if that is known."""

    def __init__(self, fault: str, line: int | None = None) -> None:
        super().__init__(fault)
        self.line = line


@contextmanager
def open_text(path: Path) -> Iterator[BinaryIO]:
    """A file of somebody else, open for reading.

    Raises:
        RequestError: it is missing, no regular file, or may not be read.
    """
    with os.fdopen(_open(path), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise RequestError(f"{path}: is no regular file; give a text file")
        yield file


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """A text file in UTF-8, without the mark that some editors put before it.

    Raises:
        RequestError: it is missing, no regular file, larger than `most_bytes`, no UTF-8, or cannot be read.
    """
    with open_text(path) as file:
        try:
            content = file.read(most_bytes + 1)
        except OSError as fault:
            raise RequestError(f"{path}: cannot be read ({fault})") from None
    if len(content) > most_bytes:
        raise RequestError(f"{path}: is larger than {most_bytes:,} bytes; split it")
    try:
        return content.removeprefix(MARK).decode()
    except UnicodeDecodeError as fault:
        raise RequestError(f"{path}: is not UTF-8 (UnicodeDecodeError at byte {fault.start + 1})") from None


def _open(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # non-blocking: a FIFO must not hang
    except FileNotFoundError:
        raise RequestError(f"{path}: no such file") from None
    except (OSError, ValueError) as fault:
        raise RequestError(f"{path}: cannot be read ({fault})") from None
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):  # of which Python makes no file object
        os.close(descriptor)
        raise RequestError(f"{path}: is no regular file: it is a folder")
    return descriptor


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
