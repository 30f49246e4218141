import json
import re
from pathlib import Path

import pytest

from sim.language import kinds, publish_kinds
from sim.language.fields import Either, Kind, ListOf, Section
from sim.language.format import EVENT_DOCS, EVENT_KEYS, SCENARIO, scenario_schema
from sim.publish.stamp import STAMP_BYTES
from sim.scenario.expect import EXPECTATION_PATTERN, metric_paths
from sim.scenario.scenario import MAX_SIZE_BYTES, MIN_SIZE_BYTES, EventKind

KINDS = [value for module in (kinds, publish_kinds) for value in vars(module).values() if isinstance(value, Kind)]


def fits(schema, value):
    """As much of JSON Schema as the scalars of the format use."""
    if "anyOf" in schema:
        return any(fits(part, value) for part in schema["anyOf"])
    if "$ref" in schema:
        return False
    if "enum" in schema:
        return value in schema["enum"]
    kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool}
    if not isinstance(value, kinds[schema["type"]]) or (isinstance(value, bool) and schema["type"] != "boolean"):
        return False
    if isinstance(value, str):
        return re.search(schema.get("pattern", ""), value) is not None
    return schema.get("minimum", value) <= value <= schema.get("maximum", value)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.expected)
def test_the_example_of_every_kind_is_right(kind):
    value = json.loads(kind.example) if re.fullmatch(r"[0-9]+(\.[0-9]+)?|true|false", kind.example) else kind.example

    kind.parse(value)

    assert fits(kind.schema, value)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.expected)
@pytest.mark.parametrize("value", ["", "\t", [], {}])
def test_what_no_kind_takes_the_schema_does_not_take(kind, value):
    if isinstance(value, str):
        with pytest.raises(ValueError):
            kind.parse(value)
        assert not fits(kind.schema, value)


def walk(spec, path=""):
    if isinstance(spec, Section):
        for known in spec.fields:
            yield f"{path}.{known.name}".lstrip("."), known
            yield from walk(known.spec, f"{path}.{known.name}".lstrip("."))
    elif isinstance(spec, ListOf):
        yield from walk(spec.of, f"{path}[]")
    elif isinstance(spec, Either):
        yield from walk(spec.mapping, path)


def test_every_key_says_what_it_does_and_is_in_the_schema():
    text = json.dumps(scenario_schema())

    for path, known in walk(SCENARIO):
        assert known.doc, path
        assert f'"{known.name}": {{"description": "{known.doc}"' in text, path


def test_the_schema_says_what_must_be_there():
    schema = scenario_schema()

    assert schema["anyOf"] == [{"required": ["name", "clients", "phases"]}, {"required": ["include"]}]
    assert "required" not in schema
    assert schema["properties"]["events"]["items"]["required"] == ["at", "do"]
    assert schema["properties"]["clients"]["items"]["required"] == ["name", "count"]
    assert schema["properties"]["clients"]["minItems"] == 1
    publish = schema["properties"]["publish"]["items"]
    assert "required" not in publish
    assert publish["properties"]["mix"]["items"]["required"] == ["to"]
    assert publish["properties"]["closed"]["required"] == ["publishers"]
    assert publish["properties"]["size"]["anyOf"][1]["maxProperties"] == 1
    assert schema["properties"]["feeds"]["items"]["required"] == ["name", "file"]
    assert schema["additionalProperties"] is False


def test_a_variable_may_stand_for_every_value():
    schema = scenario_schema()

    assert {"$ref": "#/$defs/variable"} in schema["properties"]["seed"]["anyOf"]
    assert re.search(schema["$defs"]["variable"]["pattern"], "live://${ROOM:-1}")


def test_the_smallest_message_has_room_for_the_stamp():
    assert STAMP_BYTES <= MIN_SIZE_BYTES < MAX_SIZE_BYTES


def test_the_pattern_of_expectations():
    assert re.search(EXPECTATION_PATTERN, "delivery.lost==0")
    assert not re.search(EXPECTATION_PATTERN, "delivery.lost = 0")


def test_the_readme_of_the_format_names_every_metric():
    text = (Path(__file__).parents[3] / "scenarios" / "README.md").read_text(encoding="utf-8")

    for path in metric_paths():
        # Parts and nodes together have metrics of the run and of a node, which the page says of all at once.
        path = path.removeprefix("population.NAME.").removeprefix("publisher.NAME.")
        path = re.sub("^nodes\\.", "node.NODE.", path)
        head, _, last = path.rpartition(".")
        assert f"`{path}`" in text or (f"`{head.removeprefix('node.NODE')}" in text and f"`{last}`" in text), path


def test_every_kind_of_event_says_what_it_does_and_what_goes_with_it():
    assert EVENT_DOCS.keys() == EVENT_KEYS.keys() == set(EventKind)
    for kind, keys in EVENT_KEYS.items():
        assert keys[0] == ("node" if kind.for_nodes else "who")
        assert ("for" in keys) == kind.lasts
