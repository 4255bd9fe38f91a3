"""What is said about faulty specs, and where: the cases stand in tests/golden/spec_errors.txt."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from cnnstat.analysis.shapes import infer_shapes
from cnnstat.errors import SpecError
from cnnstat.spec.spec_graph import parse_spec

GOLDEN = Path(__file__).parent.parent / "golden" / "spec_errors.txt"
HEAD = "input: [3, 32, 32]\nlayers:\n"


class Case(NamedTuple):
    title: str
    body: str
    messages: tuple[str, ...]


def read_cases() -> list[Case]:
    cases = []
    for part in GOLDEN.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, rest = part.partition("\n")
        lines = rest.rstrip("\n").split("\n")
        body = [line for line in lines if not line.startswith("=> ")]
        messages = tuple(line[3:] for line in lines if line.startswith("=> "))
        cases.append(Case(title, "\n".join(body).rstrip("\n") + "\n", messages))
    return cases


CASES = read_cases()


def unmarked(body: str) -> tuple[str, list[str]]:
    """Return the spec without its marks, and the marked places."""
    text, places = "", []
    marked = HEAD + body if body.startswith("-") else body
    for piece in re.split("(▸)", marked):
        if piece == "▸":
            places.append(f"{text.count(chr(10)) + 1}:{len(text) - text.rfind(chr(10))}")
        else:
            text += piece
    return text, places


def faults(text: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        infer_shapes(parse_spec(text, file="net.yaml"))
    return caught.value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_error_says_what_and_where(case: Case, request: pytest.FixtureRequest) -> None:
    text, places = unmarked(case.body)
    problems = faults(text).problems
    assert [str(problem.location) for problem in problems] == [f"net.yaml:{place}" for place in places]
    messages = tuple(problem.message for problem in problems)
    if not request.config.getoption("--update-goldens"):
        assert messages == case.messages
        return
    told = "".join(f"=> {message}\n" for message in messages)
    before, _, after = GOLDEN.read_text(encoding="utf-8").partition(f"\n## {case.title}\n")
    _, _, rest = after.partition("\n## ")
    rest = f"\n## {rest}" if rest else ""
    GOLDEN.write_text(f"{before}\n## {case.title}\n{case.body}{told}{rest}", encoding="utf-8")


def test_titles_differ() -> None:
    assert len({case.title for case in CASES}) == len(CASES)


def test_string_of_the_error_is_one_line_a_fault() -> None:
    error = faults(f"{HEAD}  - Conv2d(8, 3, pading=1)\n  - ReLuu\n")
    assert str(error) == (
        "net.yaml:3:18: Conv2d has no argument pading; did you mean padding?\n"
        "net.yaml:4:5: there is no layer called ReLuu; did you mean ReLU?"
    )


def test_at_most_fifty_faults_are_told() -> None:
    lines = "".join(f"  - Conv2d({i}, 3, pading=1)\n" for i in range(1, 200))
    assert len(faults(HEAD + lines).problems) == 50


def test_message_stays_one_line_whatever_it_quotes() -> None:
    error = faults(f'{HEAD}  - "Conv2d(8,\\n\\n 3, pad\\nding=1)"\n  - "a\\tb\\nc": ReLU\n')
    assert len(str(error).splitlines()) == len(error.problems) == 2
