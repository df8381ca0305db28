"""The problems that pydantic finds, in the words of this project."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

_PROBLEMS: Final[Mapping[str, str]] = {
    "missing": "is required",
    "string": "must be text",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "int": "must be a whole number",
    "float": "must be a number",
    "decimal": "must be a number",
    "finite_number": "must be a finite number",
    "bool": "must be true or false",
    "date": "must be a date like 2026-04-02",
    "datetime": "must be a time like 2026-04-02T10:30:00Z",
    "time": "must be a time like 10:30",
    "time_delta": "must be a duration: seconds, or ISO 8601 like PT15M",
    "list": "must be a list",
    "tuple": "must be a list",
    "set": "must be a list",
    "frozen_set": "must be a list",
    "dict": "must be a table",
    "mapping": "must be a table",
    "model": "must be a table",
    "dataclass": "must be a table",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "path": "must be a path",
    "json_invalid": "is not JSON",
    "ip": "must be an IP address or network",
}
"""By the type of an error, or by the beginning of it."""


def problem(detail: Mapping[str, Any]) -> str:
    """Return the problem that an entry of `ValidationError.errors()` describes; it contains no value."""
    kind = str(detail["type"])
    if kind == "value_error":  # of a validator of ours
        return str(detail["msg"]).removeprefix("Value error, ")
    if kind == "string_too_short" and detail["ctx"]["min_length"] == 1:
        return "must not be empty"
    words = kind.split("_")
    for length in range(len(words), 0, -1):
        if text := _PROBLEMS.get("_".join(words[:length])):
            return text.format_map({name: _limit(value) for name, value in detail.get("ctx", {}).items()})
    return "is invalid"


def _limit(value: object) -> object:
    """Return a limit; pydantic gives one of a duration as code, `datetime.timedelta(days=1)`: return its seconds."""
    if not str(value).startswith("datetime.timedelta("):
        return value
    parts = {name: int(number) for name, number in re.findall(r"(\w+)=(-?\d+)", str(value))}
    return f"{timedelta(**parts).total_seconds():g} s"
