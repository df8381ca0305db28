"""Generate the JSON schemas of responses from their models."""

from inspect import cleandoc
from typing import Any, Final

import msgspec

from service.web import models

REPLIES: Final = (
    models.Ticker,
    models.History,
    models.Chart,
    models.Rates,
    models.Converted,
    models.Receipt,
    models.Sources,
    models.Embed,
    models.HealthDocument,
    models.Alive,
    models.ProblemDocument,
)
Schema = dict[str, Any]


def ref(model: type) -> Schema:
    """Return a reference to the schema of a model."""
    return {"$ref": f"#/components/schemas/{_short(model.__name__)}"}


def schemas() -> Schema:
    """Return the schemas of all responses and of their parts, by name."""
    _, components = msgspec.json.schema_components(REPLIES, ref_template="#/components/schemas/{name}")
    return {_short(name): _output(schema) for name, schema in sorted(components.items())}


def _output(schema: Schema) -> Schema:
    """Convert an input schema, as msgspec generates it, to one of the output.

    Fields with a default are always encoded, so they are required; additional properties never occur. A decimal is a
    number, as `to_json` encodes it.
    """
    if schema.get("format") == "decimal":
        return {"type": "number"}
    output = {name: value for name, value in schema.items() if name not in ("default", "title")}
    for name in {"anyOf", "prefixItems"} & output.keys():
        output[name] = [_output(item) for item in output[name]]
    for name in ("items", "additionalProperties"):
        if isinstance(output.get(name), dict):
            output[name] = _output(output[name])
    if "$ref" in output:
        output["$ref"] = "#/components/schemas/" + _short(output["$ref"].rpartition("/")[2])
    if "description" in output:
        output["description"] = cleandoc(output["description"])
    if properties := output.get("properties"):
        required = {*output.get("required", ()), *(name for name, item in properties.items() if "default" in item)}
        output["properties"] = {name: _output(item) for name, item in properties.items()}
        output |= {"required": [name for name in properties if name in required], "additionalProperties": False}
    return output


_NAMES: Final = {"Quotation": "FixingsDirection", "Trend": "ChangeDirection"}
"""Schema names that differ from the class names: they are part of the contract."""


def _short(name: str) -> str:
    """Return the name of a schema: the class name without the suffix `Document`."""
    name = name.rpartition(".")[2]
    return _NAMES.get(name, name.removesuffix("Document"))
