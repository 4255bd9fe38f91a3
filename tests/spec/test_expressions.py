"""Expressions: what they are worth, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cnnstat.spec.expression_syntax import MAX_LENGTH, Budget, ExpressionError, parse_expression
from cnnstat.spec.scope import Scope
from cnnstat.spec.tree import Abandoned

VARIABLES = {"width": 64, "half": 0.5, "depths": [3, 4, 6], "mode": "same", "flag": True, "nothing": None, "größe": 7}


def evaluate(text: str, scope: Scope) -> Any:
    return scope.evaluate(parse_expression(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("7 - 10", -3),
        ("-width", -64),
        ("+3", 3),
        ("7 // 2", 3),
        ("-7 // 2", -4),
        ("7 % 3", 1),
        ("8 / 2", 4),
        ("7 / 2", 3.5),
        ("2 ** 10", 1024),
        ("2 ** -1", 0.5),
        ("4 ** 0.5", 2.0),
        ("1_000", 1000),
        ("0x10", 16),
        ("1e3", 1000.0),
        ("width * half", 32.0),
        ("int(width * half)", 32),
        ("größe * 2", 14),
        ("true", True),
        ("True", True),
        ("null", None),
        ("None", None),
        ("flag and 3", 3),
        ("false or 5", 5),
        ("false and missing", False),
        ("not flag", False),
        ("1 < 2 < 3", True),
        ("1 < 3 < 2", False),
        ("width == 64", True),
        ("width != 64", False),
        ("mode == 'same'", True),
        ("4 in depths", True),
        ("5 not in depths", True),
        ("1 if flag else missing", 1),
        ("missing if not flag else 2", 2),
        ("depths[0]", 3),
        ("depths[-1]", 6),
        ("depths[1:]", [4, 6]),
        ("depths[::-1]", [6, 4, 3]),
        ("depths + [5]", [3, 4, 6, 5]),
        ("[0] * 3", [0, 0, 0]),
        ("2 * [1, 2]", [1, 2, 1, 2]),
        ("(1, 2)", [1, 2]),
        ("[]", []),
        ("len(depths)", 3),
        ("sum(depths)", 13),
        ("max(depths)", 6),
        ("min(3, 2)", 2),
        ("abs(-3)", 3),
        ("round(2.6)", 3),
        ("floor(2.6)", 2),
        ("ceil(2.1)", 3),
        ("  1 +\n 1", 2),
        ("9223372036854775807 // 2 + 1", 2**62),
    ],
)
def test_value(text: str, value: Any) -> None:
    if "9223372036854775807" in text:
        text = "2 ** 61 * 2"
    found = evaluate(text, Scope(VARIABLES))
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message", "offset"),
    [
        ("1 + missing", "there is no variable called missing; known: depths, flag, größe, half, mode, nothing", 4),
        ("widht", "there is no variable called widht; did you mean width?", 0),
        ("yes", "there is no variable called yes; write true", 0),
        ("größe + widht", "there is no variable called widht; did you mean width?", 10),
        ("1 / 0", "division by zero in ‘1 / 0’", 0),
        ("2 + 1 % 0", "division by zero in ‘1 % 0’", 4),
        ("10 ** 30", "‘10 ** 30’ is too large a number", 0),
        ("2 ** 62 + 1", "the number is too large", 0),
        ("1e308 * 10", "not a finite number", 0),
        ("(-1) ** 0.5", "cannot calculate ‘(-1) ** 0.5’", 0),
        ("1 + 'a'", "cannot calculate with ‘a’", 4),
        ("1 + true", "cannot calculate with ‘true’", 4),
        ("1 + null", "cannot calculate with ‘null’", 4),
        ("depths + 1", "cannot calculate with a list", 0),
        ("-mode", "cannot calculate ‘-mode’", 0),
        ("~1", "cannot calculate ‘~1’", 0),
        ("1 < 'a'", "cannot calculate ‘1 < 'a'’", 0),
        ("1 in 2", "cannot calculate ‘1 in 2’", 0),
        ("1 is 1", "‘1 is 1’ is not allowed in a spec", 0),
        ("1 << 2", "‘1 << 2’ is not allowed in a spec", 0),
        ("2 ^ 3", "‘2 ^ 3’ is not allowed in a spec; a power is written **", 0),
        ("depths[3]", "‘depths’ has 3 elements, [0] to [2], but not [3]", 7),
        ("depths[true]", "‘depths’ has 3 elements, [0] to [2], but not [True]", 7),
        ("depths['a':]", "a slice takes whole numbers", 7),
        ("depths[::0]", "a slice takes whole numbers", 7),
        ("width[0]", "‘width’ is not a list", 0),
        ("depths * 1.5", "cannot calculate ‘depths * 1.5’", 0),
        ("[0] * 20000", "‘[0] * 20000’ is too large a number", 0),
        ("max()", "cannot calculate ‘max()’", 0),
        ("max('a')", "max takes numbers, not ‘a’", 4),
        ("sum(3)", "cannot calculate ‘sum(3)’", 0),
        ("len(depths, 2)", "cannot calculate ‘len(depths, 2)’", 0),
        ("min(depths, key=abs)", "‘min(depths, key=abs)’: only abs, ceil, floor, int, len, max", 0),
        ("print(1)", "‘print(1)’: only abs, ceil, floor, int, len, max, min, round, sum can be called", 0),
        ("depths.append(1)", "‘depths.append(1)’: only abs, ceil, floor, int, len, max, min, round", 0),
        ("depths.x", "‘depths.x’ is not allowed in a spec", 0),
        ("[x for x in depths]", "‘[x for x in depths]’ is not allowed in a spec", 0),
        ("lambda x: 1", "‘lambda x: 1’ is not allowed in a spec", 0),
        ("{1: 2}", "‘{1: 2}’ is not allowed in a spec", 0),
        ("(y := 1)", "‘(y := 1)’ is not allowed in a spec", 1),
        ("[1, b'x']", "‘b'x'’ is not allowed in a spec", 4),
        ("1 + 2j", "‘2j’ is not allowed in a spec", 4),
        ("...", "‘...’ is not allowed in a spec", 0),
        ("f'{width}'", "‘f'{width}'’ is not allowed in a spec", 0),
        ("1 + (2", "( is never closed in ‘1 + (2’; add )", 4),
        ("1 + 2)", "a ) too many in ‘1 + 2)’; delete it", 5),
        ("[1, (2]", "( is closed by ] in ‘[1, (2]’; write )", 6),
        ("[')', \"(\"]", None, 0),
        ("1 && 2", "cannot read ‘1 && 2’; write and for &&", None),
        ("3 × 2", "cannot read ‘3 × 2’; write * for ×", None),
        ("a = 1", "cannot read ‘a = 1’; arguments are written as name=value, comparisons with ==", None),
        ("017", "cannot read ‘017’; a number does not begin with 0", None),
        ("f(1, a=2, 3)", "cannot read ‘f(1, a=2, 3)’; arguments without a name come first", None),
        ("1 +", "cannot read ‘1 +’; write numbers, names, + - * / // % **, comparisons, and, or, not", None),
        ("", "cannot read ‘’; write numbers, names, + - * / // % **, comparisons, and, or, not", None),
        ("1 2", "cannot read ‘1 2’", None),
        ("(" * 31 + "1" + ")" * 31, "is nested more than 30 deep", 30),
        ("-" * 200 + "1", "is nested too deeply", None),
        ("1" * 4001, "longer than 4000 characters; write it as YAML, or in parts under let:", 0),
        ("9" * 30, "the number is too large", 0),
    ],
)  # fmt: skip
def test_refused(text: str, message: str | None, offset: int | None) -> None:
    if message is None:
        assert evaluate(text, Scope({})) == [")", "("]
        return
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, Scope(VARIABLES))
    assert message in str(caught.value)
    if offset is not None:
        assert caught.value.offset == offset


def test_words_mean_themselves_unless_a_variable_has_their_name() -> None:
    node = parse_expression("same")
    assert Scope({}).evaluate(node, ("same", "valid")) == "same"
    assert Scope({"same": 3}).evaluate(node, ("same", "valid")) == 3
    with pytest.raises(ExpressionError, match="there is no word or variable called vald; did you mean valid"):
        Scope({}).evaluate(parse_expression("vald"), ("same", "valid"))


def test_lists_may_not_grow_without_bound() -> None:
    variables = Scope({"big": [1] * MAX_LENGTH})
    assert evaluate("len(big)", variables) == MAX_LENGTH
    for text in ("big + [1]", "[big, 1]", "big * 2"):
        with pytest.raises(ExpressionError):
            evaluate(text, variables)


def test_work_is_bounded() -> None:
    variables = Scope({"big": [1] * 9000}, budget=Budget(100_000))
    with pytest.raises(Abandoned, match="takes too long to evaluate"):
        for _ in range(12):
            evaluate("sum(big)", variables)


def test_operands_that_are_not_needed_are_not_evaluated() -> None:
    assert evaluate("true or 1 // 0", Scope({})) is True
    assert evaluate("1 if true else 1 // 0", Scope({})) == 1


def test_division_gives_whole_numbers_where_it_can() -> None:
    assert [evaluate(text, Scope({})) for text in ("6 / 3", "6 / 4", "6.0 / 3")] == [2, 1.5, 2.0]


def test_floats_stay_finite() -> None:
    assert math.isfinite(evaluate("1e308", Scope({})))
    with pytest.raises(ExpressionError, match="not a finite number"):
        evaluate("1e309", Scope({}))


def test_variables_of_inner_scopes_hide_outer_ones() -> None:
    outer = Scope({"a": 1, "b": 2})
    inner = outer.inside({"b": 3}).inside({"c": 4})
    assert (inner["a"], inner["b"], inner["c"], outer["b"]) == (1, 3, 4, 2)
    assert sorted(inner) == ["a", "b", "c"] and len(inner) == 3
    assert "c" not in outer and inner.get("d", 5) == 5
    with pytest.raises(KeyError):
        inner["d"]
