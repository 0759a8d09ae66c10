"""The registered names of the catalogue, as rows of one table."""


def name_rows(
    business: str, feature: str | None = None, alias: str | None = None
) -> list[tuple[str, str, str]]:
    """Return the row of a name after those of the names above it.

    What is below a name is the empty string, which is no name itself.
    """
    rows = [(business, "", "")]
    if feature is not None:
        rows.append((business, feature, ""))
        if alias is not None:
            rows.append((business, feature, alias))
    return rows
