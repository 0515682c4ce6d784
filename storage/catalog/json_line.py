"""One line of JSON, read strictly: what Python's parser lets pass is refused here, each thing with its place.

Keys twice, NaN and Infinity (`1e999` too), halves of letters (lone surrogates), numbers of thousands of digits, and
lines so deep that the parser gives up.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from storage.catalog.faults import Place, show

MAX_DIGITS, MAX_DEPTH = 30, 20
TORN = "has half of a letter (a lone surrogate)"
_HALF = re.compile("[\ud800-\udfff]")


class JsonLineError(ValueError):
    """The line is no JSON object."""


@dataclass(frozen=True)
class _Unusable:
    """Stands where a value is that must not be."""

    message: str


def parse_object(text: str) -> tuple[dict[str, Any], list[tuple[Place, str]]]:
    """The object on a line, and what must not be in it, each with its place.

    Raises:
        JsonLineError: the line is no JSON, or no object.
    """
    try:
        fields = json.loads(
            text, object_pairs_hook=_unique, parse_int=_whole, parse_float=_finite, parse_constant=_finite
        )
        if not isinstance(fields, dict):
            raise JsonLineError(f"must be an object in braces, got {show(fields)}")
        return fields, _unusable(fields, ())
    except json.JSONDecodeError as fault:
        raise JsonLineError(f"not JSON: {fault.msg} (column {fault.colno})") from None
    except RecursionError:
        raise JsonLineError("not JSON: nested too deeply") from None


def has_torn_letters(text: str) -> bool:
    """Whether the text has lone surrogates, which no encoding takes."""
    return _HALF.search(text) is not None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in pairs:
        fields[key] = _Unusable("is given twice") if key in fields else value
    return fields


def _whole(digits: str) -> int | _Unusable:
    return int(digits) if len(digits) <= MAX_DIGITS else _Unusable(f"is a number of {len(digits):,} digits")


def _finite(digits: str) -> float | _Unusable:
    number = float(digits)
    return number if math.isfinite(number) else _Unusable(f"{show(digits)} is no number that can be used")


def _unusable(value: Any, place: Place) -> list[tuple[Place, str]]:
    if isinstance(value, _Unusable):
        return [(place, value.message)]
    if isinstance(value, str):
        return [(place, TORN)] if has_torn_letters(value) else []
    if not isinstance(value, dict | list):
        return []
    if len(place) > MAX_DEPTH:
        return [(place[:1], "is nested too deeply")]
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    torn = [key for key in value if isinstance(value, dict) and has_torn_letters(key)]
    found = [fault for key, each in inner for fault in _unusable(each, (*place, key))]
    return [((*place, ascii(key)), TORN) for key in torn] + found
