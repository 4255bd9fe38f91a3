"""A field that is whole along one axis: the same words in every report, and a limit on the axis that is local."""

from pathlib import Path

import pytest

from cnnstat import analyze, compare
from cnnstat.analysis.explanation import recurrence
from cnnstat.testing import assert_budget

STRIP = """name: strip
input: [3, 4, 400]
layers:
  - conv: Conv2d(8, 5, padding=2)
  - pool: Mean(dim=2)
  - wide: Conv1d(8, 7, padding=3)
"""


@pytest.fixture
def strip(tmp_path: Path) -> Path:
    (tmp_path / "strip.yaml").write_text(STRIP)
    return tmp_path / "strip.yaml"


def test_compare_says_which_axis_is_whole(strip):
    lines = str(compare(strip, "lenet5")).splitlines()
    assert any(line.split() == ["receptive", "field", "whole×11", "16"] for line in lines)


def test_the_local_axis_is_explained_as_ever_and_the_other_in_words(strip):
    height, width = recurrence(analyze(strip), 2)
    assert height.axes == ("height",) and width.axes == ("width",)
    assert [formula.note for formula in height.formulas] == ["every output depends on all of it"]
    assert [(f.quantity, f.value) for f in width.formulas] == [("size", 11), ("stride", 1), ("start", -5)]


def test_the_limit_holds_the_local_axis(strip):
    assert_budget(strip, receptive_field=11)
    with pytest.raises(AssertionError, match="receptive_field 11 < 12"):
        assert_budget(strip, receptive_field=12)
