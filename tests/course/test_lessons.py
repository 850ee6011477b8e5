"""The course does what its text says: a quick half in `make test-journeys`, all of it by `make course`."""

import os

import pytest

from tests.course.lessons import Workspace, blocks, lessons, missing

# They need no service beside the command `lab`, and few trainings. The lab of the first one is used by the others.
QUICK = ("01", "02", "03", "05", "11")
WHOLE = bool(os.environ.get("LAB_TEST_COURSE"))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("course"))


@pytest.mark.journey
@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize(
    "lesson",
    [path for path in lessons() if WHOLE or path.name.startswith(QUICK)],
    ids=lambda path: path.stem,
)
def test_every_command_of_the_lesson_does_what_its_text_says(workspace, lesson):
    workspace.run(lesson)


@pytest.mark.parametrize("lesson", lessons(), ids=lambda path: path.stem)
def test_a_lesson_has_its_parts(lesson):
    text = lesson.read_text()
    for part in ("**You need:**", "## Do it", "## Question", "<summary>Answer</summary>", "## Break it"):
        assert part in text, part
    found = blocks(text)
    assert found[0].code.strip() == "source docs/course/env.sh"
    assert any(block.expected for block in found)


def test_the_course_has_twelve_lessons_in_order():
    assert [path.name[:2] for path in lessons()] == [f"{number:02}" for number in range(1, 13)]


@pytest.mark.parametrize(
    ("expected", "output", "absent"),
    [
        (["a 1"], "x  a\n 1 y", None),
        (["a … c"], "a b\nc", None),
        (["b", "a"], "a b", "a"),
        (["a … c"], "a b", "a … c"),
    ],
)
def test_a_line_that_is_not_printed_is_found(expected, output, absent):
    assert missing(expected, output) == absent


def test_a_block_that_nothing_runs_is_refused():
    with pytest.raises(ValueError, match="python"):
        blocks("```python\nprint(1)\n```\n")
