"""The registered names of the catalogue as rows of one table, for every adapter.

Used by `stores/memory/catalogue.py`, `stores/postgres/tables/catalogue.py` and
`stores/sqlite/tables/catalogue.py`.
"""


def name_rows(
    business: str, feature: str | None = None, alias: str | None = None
) -> list[tuple[str, str, str]]:
    """Return the row of a name after those of the names above it.

    A missing lower name is the empty string, which is not a valid name.
    """
    rows = [(business, "", "")]
    if feature is not None:
        rows.append((business, feature, ""))
        if alias is not None:
            rows.append((business, feature, alias))
    return rows
