"""What `GET /` of the Data API says: the data sets, as JSON and as a page."""

from typing import Any
from urllib.parse import quote

from datos.catalog import Catalog
from datos.dataset import DatasetError
from mlops_lab.front_page import Cell, front_page

ABOUT = "Serves data sets batch by batch, as new data that arrives over time."


def described(catalog: Catalog) -> dict[str, dict[str, Any]]:
    """Data set → source, rows, sizes of its batches, columns; of a broken one its error."""
    return {name: _describe(name, catalog) for name in catalog.names()}


def index_page(found: dict[str, dict[str, Any]], base: str) -> str:
    """The data sets for a browser. No link asks for a batch, because that would move a group's position.

    found: as `described` gives it. base: the service's address as the browser has it.
    """
    rows: list[list[Cell]] = []
    for name, about in found.items():
        if error := about.get("error"):
            rows.append([name, error, "", "", "", ""])
            continue
        counts = [f"{about['rows']:,}", str(len(about["batches"])), str(len(about["columns"]))]
        rows.append([name, about["source"], *counts, ("CSV", f"/{quote(name)}/data.csv")])
    return front_page(
        "Data API",
        ABOUT,
        [("How to call it", "/docs"), ("Metrics", "/metrics"), ("State", "/health")],
        ("Data sets", ["Name", "Source", "Rows", "Batches", "Columns", "Download"], rows),
        "# the next batch of group 1: each call moves the group on\n"
        f"curl -s '{base}{next(iter(found), 'realtor')}/data?group_number=1'",
    )


def _describe(name: str, catalog: Catalog) -> dict[str, Any]:
    try:
        dataset = catalog.get(name)
    except DatasetError as error:
        return {"error": str(error)}
    return {
        "source": dataset.source,
        "rows": sum(dataset.sizes),
        "batches": list(dataset.sizes),
        "columns": list(dataset.columns),
    }
