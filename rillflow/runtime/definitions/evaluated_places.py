"""The elements of an object or list that a JSON Schema has evaluated, in counted steps.

``unevaluatedItems`` and ``unevaluatedProperties`` apply to the others. The library's own
implementation is quadratic, and follows references without a limit.

Used by `runtime/definitions/json_schema.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from referencing.jsonschema import lookup_recursive_ref

Place: TypeAlias = str | int
"""The key of a property, or the index of an item."""

_ALTERNATIVES: Final = ("allOf", "anyOf", "oneOf")
REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})

_LOOK_UP_STEPS: Final = 5
_CHARACTERS_PER_STEP: Final = 100
_STEPS_PER_SEGMENT: Final = 2
_SCOPE_STEPS: Final = 50
"""A dynamic reference is looked up in every schema that has led to it."""
_ALL_ITEMS: Final = frozenset({"items", "unevaluatedItems"})
_ALL_PROPERTIES: Final = frozenset({"additionalProperties", "unevaluatedProperties"})


def look_up_steps(keyword: str, reference: object) -> int:
    """Return the steps of looking up a reference: by its length, its segments and its scope."""
    text = str(reference)
    steps = len(text) // _CHARACTERS_PER_STEP + _STEPS_PER_SEGMENT * text.count("/")
    return _LOOK_UP_STEPS + steps + (0 if keyword == "$ref" else _SCOPE_STEPS)


class EvaluatedPlaces:
    """The places of one object or list that a schema evaluates, and the schemas that it applies."""

    def __init__(
        self,
        instance: Any,
        take: Callable[[int], None],
        is_found: Callable[[Any, str], bool],
    ) -> None:
        """Count steps by ``take``, which raises when there were too many.

        ``is_found`` tells whether a pattern is found in a key, and counts its own steps.
        """
        self._instance = instance
        self._take = take
        self._is_found = is_found
        self._places: set[Place] = set()

    def rest(self, validator: Any, schema: Mapping[str, Any]) -> list[Place]:
        """Return the places that only the ``unevaluated...`` keyword of a schema evaluates."""
        outermost = {k: v for k, v in schema.items() if not k.startswith("unevaluated")}
        self._take(1 + len(schema))
        waiting: list[tuple[Any, Any]] = [(validator, outermost)]
        while waiting:
            validator, schema = waiting.pop()
            self._take(1)
            if not isinstance(schema, dict):
                continue
            if self._evaluates_all(schema):
                return []
            waiting += self._applied(validator, schema)
        self._take(len(self._instance))
        every = self._instance if isinstance(self._instance, dict) else range(len(self._instance))
        return [place for place in every if place not in self._places]

    def _evaluates_all(self, schema: dict[str, Any]) -> bool:
        """Note what a schema evaluates by itself; return whether that is all.

        Where it counts, the value is valid, so ``additionalProperties`` has evaluated everything
        that no other keyword has.
        """
        if isinstance(self._instance, dict):
            return bool(_ALL_PROPERTIES & schema.keys())
        # Before draft 2020-12, a list of schemas has the meaning of prefixItems.
        is_prefix = isinstance(schema.get("items"), list) and "additionalItems" not in schema
        return bool(_ALL_ITEMS & schema.keys()) and not (
            is_prefix and "unevaluatedItems" not in schema
        )

    def _applied(self, validator: Any, schema: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
        """Note what a schema evaluates, and yield the schemas that it applies to the same data."""
        if isinstance(self._instance, dict):
            self._note_properties(schema)
        else:
            self._note_items(validator, schema)
        for resolved in self._references(validator, schema):
            inner = validator.evolve(schema=resolved.contents, _resolver=resolved.resolver)
            yield inner, resolved.contents
        for part in self._parts(validator, schema):
            yield validator, part

    def _references(self, validator: Any, schema: dict[str, Any]) -> Iterator[Any]:
        resolver = validator._resolver  # noqa: SLF001 - the library's keywords use it as well
        for keyword in ("$ref", "$dynamicRef"):
            if keyword in schema and keyword in validator.VALIDATORS:
                self._take(look_up_steps(keyword, schema[keyword]))
                yield resolver.lookup(schema[keyword])
        if "$recursiveRef" in schema and "$recursiveRef" in validator.VALIDATORS:
            self._take(look_up_steps("$recursiveRef", ""))
            yield lookup_recursive_ref(resolver)

    def _parts(self, validator: Any, schema: dict[str, Any]) -> Iterator[Any]:
        for keyword in _ALTERNATIVES:
            for part in schema.get(keyword, ()):
                self._take(1)
                if self._is_valid(validator, self._instance, part):
                    yield part
        if "if" in schema:
            if self._is_valid(validator, self._instance, schema["if"]):
                yield schema["if"]
                yield schema.get("then", True)
            else:
                yield schema.get("else", True)
        if isinstance(self._instance, dict):
            dependent = schema.get("dependentSchemas", {})
            self._take(len(dependent))
            yield from (part for key, part in dependent.items() if key in self._instance)

    def _note_properties(self, schema: dict[str, Any]) -> None:
        named = schema.get("properties", {})
        self._take(min(len(named), len(self._instance)))
        self._places |= named.keys() & self._instance.keys()
        for source in schema.get("patternProperties", ()):
            self._places |= {key for key in self._instance if self._is_found(source, key)}

    def _note_items(self, validator: Any, schema: dict[str, Any]) -> None:
        items = schema.get("items")
        first = items if isinstance(items, list) else schema.get("prefixItems", ())
        count = min(len(first), len(self._instance))
        self._take(count)
        self._places |= set(range(count))
        if "contains" in schema:
            self._take(len(self._instance))
            self._places |= {
                index
                for index, item in enumerate(self._instance)
                if self._is_valid(validator, item, schema["contains"])
            }

    @staticmethod
    def _is_valid(validator: Any, instance: Any, schema: Any) -> bool:
        return next(validator.descend(instance, schema), None) is None
