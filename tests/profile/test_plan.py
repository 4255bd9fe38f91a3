"""Plans: a run is held against the trace, and what does not fit is said."""

import pytest

torch = pytest.importorskip("torch")

from cnnstat.profile.observer import UNATTRIBUTED  # noqa: E402
from cnnstat.profile.plan import Event, make_plan  # noqa: E402
from cnnstat.pytorch.calls import CallRecord  # noqa: E402

FUNCTIONS = {"conv": torch.conv2d, "relu": torch.relu, "shape": torch.Tensor.dim, "mul": torch.mul}


def event(name, path="", shape=(1, 4)):
    return Event(FUNCTIONS[name], name, path, None if shape is None else (shape,))


def heard(name, node, path="", shape=(1, 4), operands=(), results=()):
    return CallRecord(name, path, (shape,), node, False, operands, results)


def rows(plan):
    return [planned.row for planned in plan.calls]


def test_the_same_calls_make_an_exact_plan():
    plan = make_plan(
        [event("conv", "a"), event("shape", "a", None), event("relu")], [heard("conv", 0, "a"), heard("relu", 1)]
    )
    assert plan.is_exact
    assert rows(plan) == [0, 1]
    assert plan.passing == {torch.Tensor.dim}
    assert plan.passed_over == 1


def test_a_function_that_makes_rows_is_followed_even_where_it_makes_none():
    plan = make_plan([event("relu", shape=None), event("relu")], [heard("relu", 0)])
    assert rows(plan) == [None, 0]
    assert plan.passed_over == 1


def test_a_call_too_many_belongs_to_no_row():
    calls = [heard("conv", 0, "a"), heard("relu", 1), heard("conv", 2, "b")]
    plan = make_plan([event("conv", "a"), event("relu"), event("mul", "x"), event("conv", "b")], calls)
    assert rows(plan) == [0, 1, UNATTRIBUTED, 2]
    assert plan.missed == ("x",)
    assert not plan.is_exact


def test_a_row_that_does_not_run_is_lost():
    plan = make_plan(
        [event("conv", "a"), event("conv", "b")], [heard("conv", 0, "a"), heard("relu", 1), heard("conv", 2, "b")]
    )
    assert rows(plan) == [0, 2]
    assert plan.lost == (1,)


def test_other_sizes_are_the_same_call():
    plan = make_plan([event("conv", "a"), event("relu", shape=(7, 4))], [heard("conv", 0, "a"), heard("relu", 1)])
    assert rows(plan) == [0, 1]
    assert plan.resized == (1,)
    assert not plan.missed


def test_the_same_function_in_another_module_is_another_call():
    plan = make_plan([event("conv", "b")], [heard("conv", 0, "a")])
    assert rows(plan) == [UNATTRIBUTED]
    assert plan.lost == (0,)


def test_what_operands_are_made_of_belongs_to_the_first_row_that_uses_it():
    weight, scaled, doubled, x, y, z = (torch.zeros(1) for _ in range(6))
    calls = [
        heard("mul", None, operands=(weight,), results=(scaled,)),
        heard("mul", None, operands=(scaled,), results=(doubled,)),
        heard("conv", 5, operands=(x, doubled), results=(y,)),
        heard("conv", 6, operands=(y, doubled), results=(z,)),
        heard("mul", None, operands=(weight,), results=(weight,)),
    ]
    plan = make_plan([event(call.name) for call in calls], calls)
    assert rows(plan) == [5, 5, 5, 6, UNATTRIBUTED]
    assert [planned.is_layer for planned in plan.calls] == [False, False, True, True, False]


def test_a_tensor_written_again_and_again_belongs_to_its_reader():
    mask, x = torch.zeros(1), torch.zeros(1)
    calls = [heard("mul", None, operands=(mask,), results=(mask,)) for _ in range(4)]
    calls.append(heard("conv", 0, operands=(x, mask), results=(x,)))
    assert rows(make_plan([event(call.name) for call in calls], calls)) == [0] * 5


def test_long_runs_that_differ_in_one_place_are_matched():
    calls = [heard("conv", number, f"layer{number}") for number in range(3000)]
    events = [event("conv", f"layer{number}") for number in range(3000) if number != 1500]
    plan = make_plan(events, calls)
    assert plan.lost == (1500,)
    assert not plan.missed
