"""JSON schemas of the responses, generated from their models; for `generate`."""

from inspect import cleandoc
from typing import Any, Final

import msgspec

from service.web import models

REPLIES: Final = (
    models.Ticker,
    models.History,
    models.Receipt,
    models.Sources,
    models.Embed,
    models.HealthDocument,
    models.Alive,
    models.ProblemDocument,
)
Schema = dict[str, Any]


def ref(model: type) -> Schema:
    """Return what stands for the schema of a reply."""
    return {"$ref": f"#/components/schemas/{_short(model.__name__)}"}


def schemas() -> Schema:
    """Return the schemas of all replies, and of what they are made of, by their names."""
    _, found = msgspec.json.schema_components(REPLIES, ref_template="#/components/schemas/{name}")
    return {_short(name): _sent(schema) for name, schema in sorted(found.items())}


def _sent(schema: Schema) -> Schema:
    """Return a schema of what is sent, of one of what could be read.

    What has a default is sent all the same, and nothing else comes. A decimal is a number, as `to_json`
    writes it.
    """
    if schema.get("format") == "decimal":
        return {"type": "number"}
    made = {name: value for name, value in schema.items() if name not in ("default", "title")}
    for name in {"anyOf", "prefixItems"} & made.keys():
        made[name] = [_sent(one) for one in made[name]]
    for name in ("items", "additionalProperties"):
        if isinstance(made.get(name), dict):
            made[name] = _sent(made[name])
    if "$ref" in made:
        made["$ref"] = "#/components/schemas/" + _short(made["$ref"].rpartition("/")[2])
    if "description" in made:
        made["description"] = cleandoc(made["description"])
    if properties := made.get("properties"):
        always = {*made.get("required", ()), *(name for name, one in properties.items() if "default" in one)}
        made["properties"] = {name: _sent(one) for name, one in properties.items()}
        made |= {"required": [name for name in properties if name in always], "additionalProperties": False}
    return made


_NAMES: Final = {"Quotation": "FixingsDirection", "Trend": "ChangeDirection"}
"""Names in the description that differ from those of the classes: they are promised."""


def _short(name: str) -> str:
    """Return the name of a schema: that of its class, without the suffix `Document`."""
    name = name.rpartition(".")[2]
    return _NAMES.get(name, name.removesuffix("Document"))
