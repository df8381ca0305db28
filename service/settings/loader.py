"""Load the settings from their layers; the only module that reads the environment.

The default settings are always read: `config/default.toml`, in an installed package `service/settings/default.toml`. A
file of the operator's overrides them, then environment variables (`TICKER_`, with `__` between levels), then the
command line. Tables are merged key by key, lists and values are replaced.

Not by pydantic-settings, which costs 170 ms of start-up and 5 MB, and ignores unknown variables (measured with 2.16 on
2026-11-24).
"""

import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

from service.errors import SettingsError
from service.settings.models import Settings, SourceSettings
from service.settings.wording import problem

PREFIX = "TICKER_"
ROOT = Path(__file__).parents[2]
"""The checkout. An installed package has none: only tools and tests use it."""
DEFAULT = ROOT / "config" / "default.toml"
"""The default settings of a checkout; the build copies them into the wheel."""


class Layer(NamedTuple):
    """Settings from one origin: a file, or the command line (no name); those of the environment name `variables`."""

    origin: str
    tree: Mapping[str, Any]
    variables: Sequence[str] = ()


def load(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Load the settings; `file` defaults to the one that `TICKER_CONFIG` names.

    Raises `SettingsError` with one line that names the layer, the setting and the problem.
    """
    layers = _layers(file, environ, overrides)
    try:
        return Settings.model_validate(_with_validated_sources(_merge(layers)))
    except ValidationError as error:
        details = [detail for detail in error.errors() if not _is_consequence(detail, error.errors())]
        raise SettingsError("; ".join(_problem(detail, layers) for detail in details)) from None


def _is_consequence(detail: Mapping[str, Any], details: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a list only counts as too short because its items are invalid."""
    path = detail["loc"]
    is_list = detail["type"] == "too_short"
    return is_list and any(other["loc"][: len(path)] == path != other["loc"] for other in details)


def _layers(file: Path | None, environ: Mapping[str, str] | None, overrides: Mapping[str, Any] | None) -> list[Layer]:
    """Return the layers, each of which overrides those before it."""
    environ = os.environ if environ is None else environ
    file = file or (Path(name) if (name := environ.get(f"{PREFIX}CONFIG")) else None)
    layers = [_default()]
    if file:
        layers.append(Layer(str(file), _toml(file)))
    ignored = {f"{PREFIX}CONFIG", *_service_links(environ)}
    variables = [name for name in sorted(environ) if name.startswith(PREFIX) and name not in ignored]
    from_environment = Layer("", _environment({name: environ[name] for name in variables}), variables)
    return [*layers, from_environment, Layer("", overrides or {})]


def _service_links(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the variables that Kubernetes sets for a service of the namespace, such as `ticker-valkey`.

    By name and value, so that a misspelt setting is still reported:
    https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    for service, host in environ.items():
        if not (service.startswith(PREFIX) and service.endswith("_SERVICE_HOST")):
            continue
        name, address = (re.escape(text) for text in (service.removesuffix("_SERVICE_HOST"), host))
        url = rf"(tcp|udp|sctp)://(\[{address}\]|{address})"
        links = re.compile(
            rf"{name}_(SERVICE_HOST={address}|SERVICE_PORT(_[A-Z0-9_]+)?=\d+|PORT={url}:\d+"
            rf"|PORT_(?P<port>\d+)_(TCP|UDP|SCTP)(={url}:(?P=port)|_PROTO=(tcp|udp|sctp)|_PORT=(?P=port)|_ADDR={address}))"
        )
        yield from (variable for variable, value in environ.items() if links.fullmatch(f"{variable}={value}"))


def _default() -> Layer:
    """Return the default settings: those in the package if it is installed, otherwise those of the checkout."""
    packaged = files("service.settings") / "default.toml"
    if packaged.is_file():
        return Layer("service/settings/default.toml", _toml(packaged))
    return Layer("config/default.toml", _toml(DEFAULT))


def _merge(layers: list[Layer]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for layer in layers:
        tree = _override(tree, layer.tree)
    return tree


def _toml(path: Path | Traversable) -> dict[str, Any]:
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: invalid TOML: {error}") from None


class _SourceTable(dict[str, Any]):
    """A source in a TOML document. Merging replaces it by a plain table if another layer changes it."""

    @cached_property
    def validated(self) -> "SourceSettings | _SourceTable":
        """Its settings; the table itself if it is invalid: errors name the whole path."""
        try:
            return SourceSettings.model_validate(self)
        except ValidationError:
            return self


@lru_cache(maxsize=2)
def _parsed(text: str) -> dict[str, Any]:
    """Return the tree of a TOML document, which callers must not change.

    Parsing it and validating the sources that no layer changes are most of the cost of loading.
    """
    tree = tomllib.loads(text)
    if isinstance(sources := tree.get("sources"), dict):
        tree["sources"] = {
            key: _SourceTable(table) if isinstance(table, dict) else table for key, table in sources.items()
        }
    return tree


def _with_validated_sources(tree: dict[str, Any]) -> dict[str, Any]:
    """Replace the sources that are as in one document by their settings, which are not validated again."""
    if not isinstance(sources := tree.get("sources"), dict):
        return tree
    known = {key: table.validated for key, table in sources.items() if isinstance(table, _SourceTable)}
    return tree | {"sources": sources | known}


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in environ.items():
        *parents, last = _path(name)
        table = tree
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise SettingsError(f"{name}: another variable sets {parent} to a value, so it cannot have keys")
        table[last] = _value(name, value)
    return tree


def _path(variable: str) -> tuple[str, ...]:
    """Return the setting that a variable names: `TICKER_HTTP__PORT` is `("http", "port")`."""
    return tuple(variable.removeprefix(PREFIX).lower().split("__"))


def _value(name: str, text: str) -> object:
    """Read lists and tables from JSON; pydantic reads everything else from text."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{name}: invalid JSON: {error}") from None


def _override(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _override(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _problem(detail: Mapping[str, Any], layers: list[Layer]) -> str:
    """Return `origin: setting: problem`, without the value, which may be a secret."""
    path = tuple(str(part) for part in detail["loc"] if part != "[key]")  # the key itself is invalid
    message, table = problem(detail), path
    if not path:
        return message
    if detail["type"] == "missing":
        table = path[:-1]
    if detail["type"] == "extra_forbidden":
        from difflib import get_close_matches  # noqa: PLC0415 - only for a message

        similar = get_close_matches(path[-1], _names(path[:-1]), n=1)
        suggestion = f"; did you mean {'.'.join((*path[:-1], similar[0]))}?" if similar else ""
        message = f"unknown setting{suggestion}"
    layer = next((layer for layer in reversed(layers) if _has(layer.tree, table)), Layer("", {}))
    variable = next((name for name in layer.variables if _overlap(_path(name), path)), None)
    if variable and _path(variable) == path and detail["type"] == "extra_forbidden":
        if meant := _joined("_".join(path), _merge(layers)["sources"]):
            message = f"unknown setting; did you mean {PREFIX}{'__'.join(meant).upper()}?"
        return f"{variable}: {message}"
    origin = variable or layer.origin
    return f"{origin}: {'.'.join(path)}: {message}" if origin else f"{'.'.join(path)}: {message}"


def _joined(text: str, keys: Iterable[str], model: type[BaseModel] = Settings) -> tuple[str, ...]:
    """Return the setting whose levels a text joins by `_`, such as `http_port`; empty if there is none.

    `keys` are those of the sources.
    """
    for name, field in model.model_fields.items():
        if text == name:
            return (name,)
        rest = text.removeprefix(f"{name}_")
        if rest == text:
            continue
        if name == "sources":
            below = ((key, *_joined(rest.removeprefix(f"{key}_"), keys, SourceSettings)) for key in keys)
            found = next((path for path in below if len(path) > 1 and rest.startswith(f"{path[0]}_")), ())
        else:
            annotation: Any = field.annotation
            is_table = isinstance(annotation, type) and issubclass(annotation, BaseModel)
            found = _joined(rest, keys, annotation) if is_table else ()
        if found:
            return (name, *found)
    return ()


def _has(tree: object, path: tuple[str, ...]) -> bool:
    """Return whether a layer sets what is at a path; an item of a list belongs to the layer that has the list.

    The list may be written as a text: `10.0.0.0/8, 127.0.0.1`.
    """
    for name in path:
        if not isinstance(tree, dict):
            return isinstance(tree, list | str)
        if name not in tree:
            return False
        tree = tree[name]
    return True


def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Return whether one path is, or contains, the other."""
    return all(a == b for a, b in zip(one, other, strict=False))


def _names(path: tuple[str, ...]) -> list[str]:
    """Return the settings of a table."""
    model: type[BaseModel] | None = Settings
    for name in path:
        field = model.model_fields.get(name) if model else None
        if field:
            model = next(models_in(field.annotation), None)
    return list(model.model_fields) if model else []


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - any annotation
    """Yield the models in an annotation: that of a table, or of each table of several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)
