from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.errors import RagError
from rag.search.filters import (
    MAX_COMPARED,
    MAX_COMPARISONS,
    MAX_DEPTH,
    Filter,
    filter_clause,
    kind_of,
    parse_filter,
)

ATTRIBUTES = {"language": "en", "year": 2024, "is_public": True, "tags": ["a"], "rating": 4.5, "none": None}


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def matches(found: Filter, attributes: Mapping[str, Any]) -> bool:
    """Whether a document with these attributes passes the filter: what the SQL must agree with."""
    if found.filters:
        return (all if found.type == "and" else any)(matches(part, attributes) for part in found.filters)
    held = attributes.get(found.key)
    kind = kind_of(held)
    compare = COMPARE.get(found.type, operator.eq)
    holds = kind is not None and any(kind_of(value) == kind and compare(held, value) for value in found.values)
    return holds != (found.type in ("ne", "nin"))


def eq(key: str, value: object) -> dict[str, object]:
    return {"type": "eq", "key": key, "value": value}


@pytest.mark.parametrize(
    ("type_", "key", "value", "expected"),
    [
        ("eq", "language", "en", True),
        ("eq", "language", "EN", False),
        ("eq", "year", 2024.0, True),
        ("eq", "year", "2024", False),  # a text is no number
        ("eq", "is_public", True, True),
        ("eq", "is_public", 1, False),  # a number is no boolean
        ("eq", "absent", "en", False),
        ("eq", "tags", "a", False),  # a list is not compared
        ("ne", "language", "de", True),
        ("ne", "language", "en", False),
        ("ne", "absent", "en", True),
        ("ne", "year", "2024", True),
        ("gt", "year", 2023, True),
        ("gt", "year", 2024, False),
        ("gte", "year", 2024, True),
        ("lt", "rating", 4.6, True),
        ("lte", "rating", 4.4, False),
        ("lt", "absent", 9, False),
        ("gte", "language", "aa", True),
        ("gt", "language", 0, False),
        ("in", "language", ["de", "en"], True),
        ("in", "year", ["2024", True], False),
        ("nin", "language", ["de", "fr"], True),
        ("nin", "language", ["de", "en"], False),
        ("nin", "absent", ["en"], True),
    ],
)
def test_comparisons(type_: str, key: str, value: object, expected: bool) -> None:
    assert matches(parse_filter({"type": type_, "key": key, "value": value}), ATTRIBUTES) is expected


def test_and_and_or_nest() -> None:
    yes, no = eq("language", "en"), eq("language", "de")
    for type_, filters, expected in [
        ("and", [yes, yes], True),
        ("and", [yes, no], False),
        ("or", [no, yes], True),
        ("or", [no, {"type": "and", "filters": [yes]}], True),
        ("or", [no, no], False),
    ]:
        assert matches(parse_filter({"type": type_, "filters": filters}), ATTRIBUTES) is expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("eq", "is an object"),
        ({}, "type must be one of"),
        ({"type": "like", "key": "a", "value": "b"}, "'like'"),
        ({"type": ["eq"], "key": "a", "value": "b"}, "type must be one of"),
        ({"type": "eq", "key": "a"}, "must have key, type, value"),
        ({"type": "eq", "key": "a", "value": "b", "filters": []}, "must have key, type, value"),
        ({"type": "and", "filters": []}, "at least one"),
        ({"type": "and", "filters": {}}, "needs a list"),
        ({"type": "and", "filters": [7]}, "is an object"),
        (eq("", "b"), "key must be"),
        (eq("k" * 513, "b"), "key must be"),
        (eq("a", "b\0"), "'a'"),
        (eq("a", "\ud800"), "'a'"),
        (eq("a", None), "not None"),
        (eq("a", [1]), "not [1]"),
        (eq("a", float("nan")), "not nan"),
        (eq("a", 10**400), "compares with"),
        (eq("a", "b" * 513), "up to 512 characters"),
        ({"type": "gt", "key": "a", "value": True}, "cannot order True"),
        ({"type": "in", "key": "a", "value": "b"}, "needs a list"),
        ({"type": "in", "key": "a", "value": []}, "at least one"),
        ({"type": "in", "key": "a", "value": [1] * (MAX_COMPARED + 1)}, "1001 values"),
        ({"type": "or", "filters": [eq("a", 1)] * (MAX_COMPARISONS + 1)}, "101 comparisons"),
    ],
)
def test_a_fault_is_named_in_one_line(value: object, words: str) -> None:
    with pytest.raises(RagError) as raised:
        parse_filter(value)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_a_filter_may_be_nested_so_deep_and_no_deeper() -> None:
    nested: dict[str, object] = eq("language", "en")
    for _ in range(MAX_DEPTH - 1):
        nested = {"type": "and", "filters": [nested]}
    assert matches(parse_filter(nested), ATTRIBUTES)
    with pytest.raises(RagError, match="nested"):
        parse_filter({"type": "or", "filters": [nested]})


KEYS = st.sampled_from(["a", "b", "Ä", "a'--"])
VALUES = st.one_of(
    st.booleans(),
    st.sampled_from([0, 1, -1, 0.5, 2**60, -0.0, 1e300]),
    st.sampled_from(["", "0", "1", "true", "a", "B", "ä", "z", "\U0001f514", "\uffee", "%", "a'b"]),
)
ORDERED = VALUES.filter(lambda value: not isinstance(value, bool))
COMPARISONS = st.one_of(
    st.builds(lambda t, k, v: {"type": t, "key": k, "value": v}, st.sampled_from(["eq", "ne"]), KEYS, VALUES),
    st.builds(
        lambda t, k, v: {"type": t, "key": k, "value": v}, st.sampled_from(["gt", "gte", "lt", "lte"]), KEYS, ORDERED
    ),
    st.builds(
        lambda t, k, v: {"type": t, "key": k, "value": v},
        st.sampled_from(["in", "nin"]),
        KEYS,
        st.lists(VALUES, min_size=1, max_size=4),
    ),
)
FILTERS = st.recursive(
    COMPARISONS,
    lambda parts: st.builds(
        lambda t, f: {"type": t, "filters": f},
        st.sampled_from(["and", "or"]),
        st.lists(parts, min_size=1, max_size=3),
    ),
    max_leaves=6,
)

METADATA = sa.MetaData()
DOCUMENTS = sa.Table("documents", METADATA, sa.Column("index_id", sa.Integer), sa.Column("id", sa.Text))
ROWS = sa.Table(
    "attributes",
    METADATA,
    sa.Column("index_id", sa.Integer),
    sa.Column("document_id", sa.Text),
    sa.Column("key", sa.Text),
    sa.Column("kind", sa.Text),
    sa.Column("text", sa.Text),
    sa.Column("number", sa.Float),
)


def attribute_row(index_id: int, document_id: str, key: str, value: Any) -> dict[str, object]:
    kind = kind_of(value)
    return {
        "index_id": index_id,
        "document_id": document_id,
        "key": key,
        "kind": kind,
        "text": value if kind == "text" else None,
        "number": float(value) if kind != "text" else None,
    }


@pytest.mark.slow
@settings(deadline=None)
@given(value=FILTERS, documents=st.lists(st.dictionaries(KEYS, VALUES, max_size=3), min_size=1, max_size=5))
def test_sql_and_python_agree_and_another_index_has_no_say(
    value: dict[str, object], documents: list[dict[str, object]]
) -> None:
    found = parse_filter(value)
    engine = sa.create_engine("sqlite://")
    METADATA.create_all(engine)
    with engine.begin() as connection:
        connection.execute(
            DOCUMENTS.insert(), [{"index_id": 1, "id": f"d{number}"} for number in range(len(documents))]
        )
        rows = [
            attribute_row(1, f"d{number}", key, one)
            for number, held in enumerate(documents)
            for key, one in held.items()
        ]
        # The same ids in another index hold what would pass.
        rows += [attribute_row(2, f"d{number}", "a", 1) for number in range(len(documents))]
        connection.execute(ROWS.insert(), rows)
        clause = filter_clause(found, ROWS, 1, DOCUMENTS.c.id)
        passed = set(connection.execute(sa.select(DOCUMENTS.c.id).where(clause)).scalars())
    engine.dispose()
    assert passed == {f"d{number}" for number, held in enumerate(documents) if matches(found, held)}


def test_filters_are_hashable_values() -> None:
    value = {"type": "or", "filters": [eq("a", 1), {"type": "in", "key": "b", "value": ["x", True]}]}
    assert len({parse_filter(value), parse_filter(value)}) == 1
