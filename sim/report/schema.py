"""The JSON Schema of the result document, made from the model, so the two cannot differ.

Unknown keys are allowed: within one schema version keys are only ever added.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
import types
import typing
from typing import Any

from sim.report.model import SCHEMA_VERSION, RunReport, document_key

__all__ = ["report_schema"]

_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", types.NoneType: "null"}


def report_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12). Any: JSON."""
    definitions: dict[str, Any] = {}
    report = _object(RunReport, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Result of imctl sim",
        "description": "Every number says its unit in its name. null: not measured. 0: measured, there was nothing.",
        "type": "object",
        "required": ["schema_version", *report["required"]],
        "properties": {
            "schema_version": {
                "const": SCHEMA_VERSION,
                "description": "Changes when a key goes or means another thing.",
            },
            **report["properties"],
        },
        "$defs": dict(sorted(definitions.items())),
    }


def _object(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    summary, notes = _described(kind)
    properties: dict[str, Any] = {}
    for item in dataclasses.fields(kind):
        key = document_key(item)
        if key is not None:
            described = {"description": notes[item.name]} if item.name in notes else {}
            properties[key] = {**_schema(hints[item.name], definitions), **described}
    return {"description": summary, "type": "object", "required": list(properties), "properties": properties}


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind in _SIMPLE:
        return {"type": _SIMPLE[kind]}
    if origin in (typing.Union, types.UnionType):
        if all(one in _SIMPLE for one in inner):
            return {"type": [_SIMPLE[one] for one in inner]}
        return {"anyOf": [_schema(one, definitions) for one in inner]}
    if origin is tuple:
        if inner[-1] is Ellipsis:
            return {"type": "array", "items": _schema(inner[0], definitions)}
        items = [_schema(one, definitions) for one in inner]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin is not None:  # Mapping[str, X]
        return {"type": "object", "additionalProperties": _schema(inner[1], definitions)}
    if issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}  # named before its fields are walked
        definitions[kind.__name__] = _object(kind, definitions)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _described(kind: type) -> tuple[str, dict[str, str]]:
    """Return what a class's docstring says of it, and of each field under `Args:`."""
    text, _, args = (inspect.getdoc(kind) or "").partition("\nArgs:\n")
    notes: dict[str, str] = {}
    name = ""
    for line in args.splitlines():
        if found := re.match(r"    (\w+): (.*)", line):
            name = found[1]
            notes[name] = found[2]
        elif name and line.strip():
            notes[name] += f" {line.strip()}"
    return " ".join(text.split()).replace("`", ""), {key: note.replace("`", "") for key, note in notes.items()}
