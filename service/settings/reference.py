"""Write the reference of all settings from their models: docs/configuration.md and the tables of config/default.toml.

Run by `make docs`.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final, NamedTuple, get_origin

from pydantic import BaseModel, SecretStr, TypeAdapter
from pydantic.fields import FieldInfo

from service.settings.loader import DEFAULT, ROOT, models_in
from service.settings.models import DocumentSettings, Settings
from service.settings.types import HTTP

DOCUMENT: Final = ROOT / "docs" / "configuration.md"
_BEGIN: Final = "# BEGIN: written by `make docs` from service/settings/models.py\n"
_END: Final = "# END\n"
_NOT_WRITTEN: Final = ("client", "user_agent")
"""Not in the default configuration: it has the version."""
_DOCUMENT: Final = ("sources", "*", HTTP)
"""The section of settings that only sources without code have."""
_HEADER: Final = "| Setting | Default | Description |\n| --- | --- | --- |\n"
_INTRO: Final = """\
# Configuration

<!-- Written by `make docs` from service/settings/models.py and this text's source, service/settings/reference.py. -->

Settings come from four layers. Each layer overrides those above it: tables are merged key by key, lists and values are
replaced. A file with `[[tickers]]` therefore replaces all default tickers.

| Layer | Example |
| --- | --- |
| `config/default.toml`, or its copy in an installed package: always read | the default ticker, all banks |
| your configuration file, named by `--config` or `TICKER_CONFIG` | `port = 9000` under `[http]` |
| environment variables: `TICKER_`, with two underscores between levels | `TICKER_HTTP__PORT=9000` |
| options of the command line | `--port 9000` |

- Durations are seconds or ISO 8601: `900`, `"PT15M"`, `"P90D"`.
- In environment variables, lists and tables are JSON: `TICKER_TICKERS='[{"id": "kzt", …}]'`. Lists of currencies,
  networks and `frame_ancestors` may also be separated by spaces or commas: `TICKER_HTTP__PROXIES=10.0.0.0/8`.
- An unknown setting or an invalid value ends the program with exit status 2. The error names the layer and the setting.
- Settings are read at the start and on SIGHUP. Restart or reload the service to apply a change.
- More files are in `config/`: `production.toml` is the configuration of the Docker Compose deployment,
  `example.toml` has tickers for other base currencies, and a relay; `examples/` has sources without code
  ([own-source.md](own-source.md)).
- The variables that Kubernetes sets for services whose names begin with `ticker`, such as `TICKER_VALKEY_PORT` with the
  value `tcp://10.96.12.7:6379`, are ignored.
"""


class Setting(NamedTuple):
    """A setting; in its path, `*` stands for a source's key or the number of a ticker."""

    path: tuple[str, ...]
    field: FieldInfo


def all_settings(model: type[BaseModel] = Settings, path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Yield every setting in the order of the models; those that a model inherits come last."""
    inherited = {name for base in model.__bases__ if issubclass(base, BaseModel) for name in base.model_fields}
    for name, field in sorted(model.model_fields.items(), key=lambda item: item[0] in inherited):
        table, collection = _table(field.annotation)
        if table:
            yield from all_settings(table, (*path, name, "*") if collection else (*path, name))
        else:
            yield Setting((*path, name), field)


def _table(annotation: Any) -> tuple[type[BaseModel] | None, bool]:  # noqa: ANN401 - any annotation
    """Return the model of a table, and whether there may be several."""
    return next(models_in(annotation), None), get_origin(annotation) in (dict, tuple)


def default_toml(text: str) -> str:
    """Return the default configuration with its generated part rewritten."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    lines, table = [], ""
    for path, field in all_settings():
        if "*" in path or field.default is None or path == _NOT_WRITTEN:
            continue
        if path[0] != table:
            table = path[0]
            lines += ["", f"[{table}]"]
        lines += [f"# {field.description}", f"{path[-1]} = {_toml(field)}"]
    body = "\n".join(lines)
    return f"{before}{_BEGIN}{body}\n\n{_END}{after}"


def configuration_md() -> str:
    """Return docs/configuration.md."""
    parts, table = [_INTRO], ""
    for path, field in all_settings():
        group = _group(path)
        name = ".".join(group)
        if name != table:
            table = name
            parts.append(f"\n## {_title(group)}\n\n{_summary(group)}{_HEADER}")
        if field.is_required():
            default = "required "
        else:
            default = "" if field.default in (None, "", ()) else f"`{_toml(field)}` "
        parts.append(f"| `{path[-1]}` | {default}| {field.description} |\n")
    return "".join(parts)


def _group(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the section of a setting: its table, or its adapter within `[sources.KEY]`."""
    table = path[:-1]
    return _DOCUMENT if table == ("sources", "*") and path[-1] in DocumentSettings.model_fields else table


def _title(path: tuple[str, ...]) -> str:
    return {
        _DOCUMENT: f'`[sources.KEY]` with `adapter = "{HTTP}"`',
        ("tickers", "*"): "`[[tickers]]`",
        ("sources", "*"): "`[sources.KEY]`",
        ("webhooks", "*"): "`[[webhooks]]`",
        ("sources", "*", "breaks", "*"): "`[[sources.KEY.breaks]]`",
    }.get(path, f"`[{'.'.join(path)}]`")


def _summary(path: tuple[str, ...]) -> str:
    model: type[BaseModel] = DocumentSettings if path == _DOCUMENT else Settings
    for name in () if path == _DOCUMENT else path:
        if name != "*":
            model = _table(model.model_fields[name].annotation)[0] or model
    return f"{cleandoc(model.__doc__)}\n\n" if model.__doc__ else ""


def _toml(field: FieldInfo) -> str:
    """Return a default as it is written in TOML."""
    if isinstance(field.default, SecretStr):
        return json.dumps(field.default.get_secret_value())
    if isinstance(field.default, Decimal):
        return str(field.default)
    if isinstance(field.default, int) and not isinstance(field.default, bool):
        return f"{field.default:_}" if field.default >= 10_000 else str(field.default)
    value = TypeAdapter[Any](field.annotation or str).dump_python(field.default, mode="json")
    if isinstance(value, list) and field.default and isinstance(field.default, frozenset):
        value = sorted(value, key=["mon", "tue", "wed", "thu", "fri", "sat", "sun"].index)
    return json.dumps(value, ensure_ascii=False)


def write(default: Path = DEFAULT, document: Path = DOCUMENT) -> None:
    """Write both files."""
    default.write_text(default_toml(default.read_text(encoding="utf-8")), encoding="utf-8")
    document.write_text(configuration_md(), encoding="utf-8")


if __name__ == "__main__":
    write()
