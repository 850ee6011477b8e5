"""docs/scale.md: each part of `make bench-scale` prints its tables and, at full size, writes them into its section."""

from datetime import UTC, datetime

from machine import machine

from mlops_lab.settings import REPOSITORY

PAGE = REPOSITORY / "docs" / "scale.md"
IMAGES = REPOSITORY / "docs" / "images"


def report(part: str, lines: list[str], *, full: bool) -> None:
    """Prints the lines of Markdown. full: also puts them between the two comments that the page has for this part."""
    lines = [f"Measured on {datetime.now(UTC):%Y-%m-%d}: {machine()}.", "", *lines]
    print("\n".join(lines))
    if not full:
        print(f"\nsmall size; `make bench-scale PART={part} FULL=1` writes {PAGE.name}")
        return
    begin, end = f"<!-- written by make bench-scale PART={part} FULL=1 -->", f"<!-- end of {part} -->"
    head, found, rest = PAGE.read_text().partition(begin)
    _, ended, tail = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{PAGE} has no place for {part}: it needs the lines {begin} and {end}")
    PAGE.write_text(head + "\n\n".join([begin, "\n".join(lines), end]) + tail)
