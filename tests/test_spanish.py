"""The Spanish README and course say what the English ones say: the same commands, figures, links and names of files."""

import re
from collections import Counter
from pathlib import Path

import pytest

from mlops_lab.settings import REPOSITORY

COURSE = REPOSITORY / "docs" / "course"
PAIRS = [
    (REPOSITORY / "README.md", REPOSITORY / "README.es.md"),
    *((page, COURSE / "es" / page.name) for page in sorted(COURSE.glob("*.md"))),
]
BLOCK = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
# A page's link to itself in the other language.
OTHER = re.compile(r"\[(?:English|Español)\]\([^)]+\)")
FIGURE = re.compile(r"\d+(?:[.,]\d+)*")


def facts(text: str) -> dict[str, Counter[str]]:
    """What must be equal in both languages, by kind."""
    prose = OTHER.sub("", BLOCK.sub("", text))
    links = re.findall(r"\]\(([^)#]+)", prose)
    code = re.findall(r"`([^`\n]+)`", prose)
    words = re.sub(r"`[^`\n]+`|\]\([^)]*\)", "", prose)
    return {
        "commands": Counter(BLOCK.findall(text)),
        "links": Counter(Path(link).name for link in links),
        "code": Counter(code),
        "figures": Counter(FIGURE.findall(words)),
        "headings": Counter(re.findall(r"^#+", prose, re.MULTILINE)),
    }


@pytest.mark.parametrize(("english", "spanish"), PAIRS, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_both_languages_have_the_same_commands_figures_and_links(english, spanish):
    there, here = facts(english.read_text()), facts(spanish.read_text())
    differences = {
        kind: {"only English": dict(there[kind] - here[kind]), "only Spanish": dict(here[kind] - there[kind])}
        for kind in there
        if there[kind] != here[kind]
    }
    assert not differences


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("commands", "```sh\nlab runs\n```\n12 rows in [a](b.md), `x`"),
        ("figures", "```sh\nlab run\n```\n13 rows in [a](b.md), `x`"),
        ("links", "```sh\nlab run\n```\n12 rows in [a](c.md), `x`"),
        ("code", "```sh\nlab run\n```\n12 rows in [a](b.md), `y`"),
    ],
)
def test_a_difference_is_found(kind, other):
    one = facts("```sh\nlab run\n```\n12 rows in [a](b.md), `x`")
    assert [name for name, found in facts(other).items() if found != one[name]] == [kind]
