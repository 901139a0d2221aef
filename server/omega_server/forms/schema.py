"""Which JSON schemas are taken. What a schema costs is bounded here, before anything is made of it.

The engine's grammars have limits of their own, but not for everything: a long chain of references would end in a stack
that overflows, and a few large multipleOf in tables of millions.
"""

import math
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from omega_server.engine.request import InvalidGrammar

MAX_NODES = 4_000
"""Values in a schema, with all of its keywords."""
MAX_DEPTH = 64
"""Nesting of values in a schema; each schema in another takes one or two."""
MAX_CHAIN = 500
"""Levels of nesting of a schema and of everything that it refers to, together."""
MAX_PROPERTIES = 500
"""Properties of one object."""
MAX_BRANCHES = 64
"""Ways to fulfil one schema that is made of anyOf, oneOf and allOf."""
MAX_PATTERN = 1_000
"""Characters of one pattern."""
MAX_MULTIPLES = 10_000
"""Product of all different multipleOf, without their decimal points."""

_NOTES = frozenset(["$comment", "$defs", "$schema", "default", "definitions", "description", "examples", "title"])
"""Keywords that say nothing about an answer."""
_ATOM = r"(?:\\.|\[[^\]]*\]|[^\\\[\]()*+?{}|])"
_ENDLESS = r"(?:[+*]|\{\d*,\})"
_REPEATS = rf"(?:{_ATOM}{_ENDLESS})+"
_NESTED = re.compile(rf"\((?:\?:)?{_REPEATS}(?:\|{_REPEATS})*\){_ENDLESS}")


def check(schema: dict[str, Any]) -> None:
    """Refuse a schema that is too costly.

    Raises:
        InvalidGrammar: says why.
    """
    nodes = list(_nodes(schema))
    if len(nodes) > MAX_NODES:
        raise InvalidGrammar(f"the schema has more than {MAX_NODES} values")
    if sum(_depth(part) for part in [schema, *_targets(schema, nodes)]) > MAX_CHAIN:
        raise InvalidGrammar("the schema refers to too many nested schemas")
    objects = [node for node in nodes if isinstance(node, dict)]
    for node in objects:
        _check_object(node)
    circular = _circular(schema, objects)
    if any(_combines(node) and circular & _reached(schema, node) for node in objects):
        raise InvalidGrammar("a schema that refers to itself cannot be combined with others: by allOf, or beside $ref")
    multiples = {_digits(node["multipleOf"]) for node in objects if "multipleOf" in node}
    if math.prod(multiples) > MAX_MULTIPLES:
        raise InvalidGrammar("the numbers in multipleOf are too large")
    known: dict[int, int] = {}
    if max(_branches(schema, node, known) for node in nodes) > MAX_BRANCHES:
        raise InvalidGrammar(f"a schema can be fulfilled in more than {MAX_BRANCHES} ways")


def _nodes(schema: Any) -> Iterator[Any]:
    """All values, the outermost first."""
    waiting = [(schema, 0)]
    while waiting:
        node, depth = waiting.pop()
        yield node
        if depth > MAX_DEPTH:
            raise InvalidGrammar(f"the schema is nested deeper than {MAX_DEPTH} levels")
        waiting += [(child, depth + 1) for child in _children(node)]


def _children(node: Any) -> list[Any]:
    return list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []


def _depth(node: Any) -> int:
    return 1 + max(map(_depth, _children(node)), default=0)


def _targets(schema: dict[str, Any], nodes: list[Any]) -> list[Any]:
    """What is referred to, each once."""
    references = {node["$ref"] for node in nodes if isinstance(node, dict) and isinstance(node.get("$ref"), str)}
    return [_target(schema, reference) for reference in references]


def _target(schema: dict[str, Any], reference: str) -> Any:
    if reference != "#" and not reference.startswith("#/"):
        raise InvalidGrammar("$ref may only lead into the schema itself, like #/$defs/name")
    node: Any = schema
    for step in reference.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and name.isascii() and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        elif isinstance(node, dict) and name in node:
            node = node[name]
        else:
            raise InvalidGrammar(f"$ref leads nowhere: {reference[:100]}")
    return node


def _circular(schema: dict[str, Any], objects: list[dict[str, Any]]) -> set[str]:
    """References whose targets lead to themselves."""
    references = {node["$ref"] for node in objects if isinstance(node.get("$ref"), str)}
    return {reference for reference in references if reference in _reached(schema, _target(schema, reference))}


def _reached(schema: dict[str, Any], node: Any) -> set[str]:
    """All references in a schema, and in what they lead to."""
    reached: set[str] = set()
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            reference = part.get("$ref")
            if isinstance(reference, str) and reference not in reached:
                reached.add(reference)
                waiting.append(_target(schema, reference))
            waiting += [child for keyword, child in part.items() if keyword not in ("$defs", "definitions")]
        elif isinstance(part, list):
            waiting += part
    return reached


def _combines(node: dict[str, Any]) -> bool:
    """Whether several schemas count for one value. llguidance works out what they are together, and would not find an end."""
    says = node.keys() - _NOTES
    beside = says - {"type"}
    return (
        "allOf" in says
        or ("$ref" in says and len(says) > 1)
        or (bool(says & {"anyOf", "oneOf"}) and len(beside) > 1)
        or {"properties", "patternProperties"} <= says
    )


def _check_object(node: dict[str, Any]) -> None:
    properties, pattern = node.get("properties"), node.get("pattern")
    if isinstance(properties, dict) and len(properties) > MAX_PROPERTIES:
        raise InvalidGrammar(f"an object has more than {MAX_PROPERTIES} properties")
    patterns = [pattern] if isinstance(pattern, str) else []
    if isinstance(node.get("patternProperties"), dict):
        patterns += node["patternProperties"]
    for text in patterns:
        if len(text) > MAX_PATTERN:
            raise InvalidGrammar(f"a pattern has more than {MAX_PATTERN} characters")
        if _NESTED.search(text):
            raise InvalidGrammar("a pattern repeats a repeat without end, like (a+)+: who checks the answer may hang")


def _digits(value: Any) -> int:
    """A number without its decimal point and the zeros at its end."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise InvalidGrammar("multipleOf must be a number above 0")
    return int("".join(map(str, Decimal(str(value)).normalize().as_tuple().digits)))


def _branches(schema: dict[str, Any], node: Any, known: dict[int, int]) -> int:
    """In how many ways a schema can be fulfilled, counted no further than is allowed."""
    if not isinstance(node, dict):
        return 1
    if id(node) not in known:
        known[id(node)] = 1  # for those that refer to themselves
        ways = _branches(schema, _target(schema, node["$ref"]), known) if isinstance(node.get("$ref"), str) else 1
        for keyword in ("anyOf", "oneOf", "allOf"):
            if isinstance(node.get(keyword), list):
                members = [_branches(schema, member, known) for member in node[keyword]]
                ways *= max(1, math.prod(members) if keyword == "allOf" else sum(members))
        known[id(node)] = min(ways, MAX_BRANCHES + 1)
    return known[id(node)]
