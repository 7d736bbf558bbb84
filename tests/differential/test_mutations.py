from __future__ import annotations

from tests.differential.mutations import Mutator

PORT = {
    "type": "object",
    "required": ["port"],
    "properties": {
        "port": {"type": "integer"},
        "protocol": {"type": "string", "enum": ["TCP", "UDP"]},
    },
}
LIST = {"type": "object", "properties": {"ports": {"type": "array", "items": {"$ref": "#/components/schemas/Port"}}}}


def of(tree: object, **words: tuple[str, ...]) -> dict[str, object]:
    return {m.label: m.tree for m in Mutator({"Port": PORT}).mutations(tree, LIST, **words)}


def test_fields_that_are_there_are_removed_nulled_doubled_and_given_odd_values():
    found = of({"ports": [{"port": 80}]})
    assert found["ports-"] == {}
    assert found["ports=None"] == {"ports": None}
    assert found["ports[twice]"] == {"ports": [{"port": 80}, {"port": 80}]}
    assert found["ports[].port=65536"] == {"ports": [{"port": 65536}]}
    assert found["ports[].nofield+"] == {"ports": [{"port": 80, "nofield": 1}]}


def test_fields_that_are_not_there_are_added_with_what_is_required_in_them():
    found = of({})
    assert found["ports+"] == {"ports": [{"port": 1}]}
    assert found["ports[].protocol='UDP'"] == {"ports": [{"port": 1, "protocol": "UDP"}]}


def test_only_what_is_asked_for_is_changed():
    assert of({}, skip=("ports",)).keys() == {"nofield+", "='x'", "=None", "=[]"}
    assert all(label.startswith("ports") for label in of({}, below=("ports",)))
