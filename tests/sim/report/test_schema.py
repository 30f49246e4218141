import json
from pathlib import Path

import pytest

from sim.report.compare import compare_reports
from sim.report.model import RunReport, Verdict
from sim.report.schema import report_schema
from tests.sim.report.samples import report_of

TYPES = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
    "array": list,
    "object": dict,
}


def problems(value, schema, root, where="$"):
    """Yield where a value breaks the schema; knows the words that report_schema() uses, and any other is a mistake."""
    known = {"$ref", "type", "enum", "const", "anyOf", "items", "prefixItems", "minItems", "maxItems", "required"}
    known |= {"properties", "additionalProperties", "description", "title", "$schema", "$defs"}
    assert schema.keys() <= known, schema.keys() - known
    if "$ref" in schema:
        yield from problems(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, where)
    if "anyOf" in schema and all(list(problems(value, one, root, where)) for one in schema["anyOf"]):
        yield f"{where} fits none of anyOf"
    if "const" in schema and value != schema["const"]:
        yield f"{where} is {value!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is {value!r}"
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    fits = [isinstance(value, TYPES[one]) and (one == "boolean" or not isinstance(value, bool)) for one in types]
    if types and not any(fits):
        yield f"{where} is {value!r}, no {types}"
    if isinstance(value, dict):
        yield from (f"{where}.{key} is missing" for key in schema.get("required", ()) if key not in value)
        for key, item in value.items():
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if inner is not None:
                yield from problems(item, inner, root, f"{where}.{key}")
            elif "properties" in schema:
                yield f"{where}.{key} is not in the schema"
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield f"{where} has {len(value)} items"
        inner = schema.get("prefixItems") or [schema.get("items", {})] * len(value)
        for number, (item, one) in enumerate(zip(value, inner, strict=False)):
            yield from problems(item, one, root, f"{where}[{number}]")


def baseline():
    return compare_reports(report_of(), report_of(), tolerance_percent=10, names=("a.json", ""))


@pytest.mark.parametrize(
    "report", [report_of(), report_of(baseline=baseline()), RunReport("a", 1, "t", "x", Verdict.PASS)]
)
def test_a_document_fits_the_schema_and_has_nothing_else(report):
    document = json.loads(json.dumps(report.to_dict()))

    assert list(problems(document, report_schema(), report_schema())) == []


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"verdict": "good"},
        {"seed": "7"},
        {"baseline": {}},
        {"latency_buckets_ms": [[1, 2]]},
        {"series": [{"at_s": 0}]},
        {"reasons": [1]},
        {"hops_ms": {"logic": None}},
        {"weather": 1},
    ],
    ids=str,
)
def test_what_is_wrong_does_not_fit(change):
    document = {**report_of().to_dict(), **change}

    assert list(problems(document, report_schema(), report_schema()))


def test_descriptions_come_from_the_model():
    schema = report_schema()

    assert schema["properties"]["seed"] == {"type": "integer", "description": "Of the schedule."}
    delivery = schema["$defs"]["DeliveryReport"]
    assert delivery["description"] == "The ledger, summed over receivers."
    assert delivery["properties"]["duplicated"]["description"] == "Copies after the first."
    assert schema["$defs"]["ExpectResult"]["required"] == ["expr", "value", "pass"]


def test_the_published_schema_is_this_one():
    path = Path(__file__).parents[3] / "docs" / "report.schema.json"

    # When it is not: imctl schema --report > docs/report.schema.json
    assert json.loads(path.read_text(encoding="utf-8")) == report_schema()
