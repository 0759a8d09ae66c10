"""Definitions in the catalogue: adding one, finding the one an id means (SEMANTICS 5.4)."""

from rillflow.definition import canonical_text, expand_sugar, parse_definition, version_of
from rillflow.errors import LanguageError, RequestError, UnknownDescriptorError
from rillflow.ids import DescriptorId, is_name, parse_descriptor_id
from rillflow.jsontypes import JsonObject
from rillflow.language.expressions import compile_expression
from rillflow.ports.store import Catalogue

RELEASE = "release"
RESTRICTION_VIOLATION = 30110


async def add_descriptor(  # noqa: PLR0913 - the parameters of the endpoint
    catalogue: Catalogue,
    business: str,
    feature: str,
    alias: str,
    text: str,
    *,
    at_ms: int,
    max_depth: int = 10,
) -> DescriptorId:
    """Validate a definition and make it the newest version of an alias.

    Raises:
        RequestError: A name is malformed, or is not the definition's (30109, 30110).
        DefinitionError: The definition is refused.
    """
    if not all(map(is_name, (business, feature, alias))):
        raise RequestError("error data format")
    definition = parse_definition(text, max_depth=max_depth)
    if (definition.workspace, definition.dag_name) != (business, feature):
        raise RequestError("name not match", wire_code=RESTRICTION_VIOLATION)
    canonical = canonical_text(expand_sugar(definition))
    version = version_of(canonical)
    await catalogue.add_version(business, feature, alias, version, canonical, at_ms=at_ms)
    return DescriptorId(business, feature, version=version)


async def resolve_descriptor(
    catalogue: Catalogue, descriptor_id: str, *, uid: int = 0, data: JsonObject | None = None
) -> DescriptorId:
    """Find the version that a descriptor id means now.

    Args:
        catalogue: Where definitions are kept.
        descriptor_id: ``business:feature[:alias | :md5_<hex32>]``.
        uid: The caller's, for gray rules.
        data: The context to be, for gray rules.

    Returns:
        The id with its version set.

    Raises:
        InvalidIdError: The id is malformed.
        UnknownDescriptorError: Nothing is stored under it.
    """
    wanted = parse_descriptor_id(descriptor_id)
    if wanted.version is not None:
        if not await catalogue.has_version(wanted.business, wanted.feature, wanted.version):
            raise UnknownDescriptorError(f"descriptor:{descriptor_id} value empty")
        return wanted
    alias = wanted.alias or await _gray_alias(catalogue, wanted, uid, data or {})
    version = await catalogue.newest_version(wanted.business, wanted.feature, alias)
    if version is None:
        raise UnknownDescriptorError(
            f"cannot find descriptor: {wanted.business}:{wanted.feature}:{alias}"
        )
    return wanted._replace(alias=None, version=version)


async def _gray_alias(
    catalogue: Catalogue, wanted: DescriptorId, uid: int, data: JsonObject
) -> str:
    rules = await catalogue.rules("gray", (wanted.business, wanted.feature))
    return first_that_holds(rules, uid=uid, data=data) or RELEASE


def first_that_holds(rules: dict[str, str], *, uid: int, data: JsonObject) -> str | None:
    """Return the first name, in the order of names, whose rule is true; errors are false."""
    for name, rule in sorted(rules.items()):
        try:
            if compile_expression(rule).evaluate({"uid": uid, "input": data}) is True:
                return name
        except LanguageError:
            continue
    return None
