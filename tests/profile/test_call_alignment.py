"""Plans: a run is held against the trace, and what does not fit is said."""

import pytest

torch = pytest.importorskip("torch")

from cnnstat.profile.call_alignment import Event, align_calls  # noqa: E402
from cnnstat.profile.profile_result import UNATTRIBUTED  # noqa: E402
from cnnstat.pytorch.calls import CallRecord  # noqa: E402

FUNCTIONS = {
    "conv": torch.conv2d,
    "relu": torch.relu,
    "shape": torch.Tensor.dim,
    "mul": torch.mul,
    "add_": torch.Tensor.add_,
}


def event(name, path="", shape=(1, 4)):
    return Event(FUNCTIONS[name], name, path, None if shape is None else (shape,))


def heard(name, node, path="", shape=(1, 4), operands=(), results=()):
    return CallRecord(name, path, (shape,), node, False, operands, results)


def rows(alignment):
    return [aligned.row for aligned in alignment.calls]


def test_the_same_calls_make_an_exact_plan():
    alignment = align_calls(
        [event("conv", "a"), event("shape", "a", None), event("relu")], [heard("conv", 0, "a"), heard("relu", 1)]
    )
    assert alignment.is_exact
    assert rows(alignment) == [0, 1]
    assert alignment.passing == {torch.Tensor.dim}
    assert alignment.passed_over == 1


def test_a_function_that_makes_rows_is_followed_even_where_it_makes_none():
    alignment = align_calls([event("relu", shape=None), event("relu")], [heard("relu", 0)])
    assert rows(alignment) == [None, 0]
    assert alignment.passed_over == 1


def test_a_call_too_many_belongs_to_no_row():
    calls = [heard("conv", 0, "a"), heard("relu", 1), heard("conv", 2, "b")]
    alignment = align_calls([event("conv", "a"), event("relu"), event("mul", "x"), event("conv", "b")], calls)
    assert rows(alignment) == [0, 1, UNATTRIBUTED, 2]
    assert alignment.missed == ("x",)
    assert not alignment.is_exact


def test_a_row_that_does_not_run_is_lost():
    alignment = align_calls(
        [event("conv", "a"), event("conv", "b")], [heard("conv", 0, "a"), heard("relu", 1), heard("conv", 2, "b")]
    )
    assert rows(alignment) == [0, 2]
    assert alignment.lost == (1,)


def test_other_sizes_are_the_same_call():
    alignment = align_calls(
        [event("conv", "a"), event("relu", shape=(7, 4))], [heard("conv", 0, "a"), heard("relu", 1)]
    )
    assert rows(alignment) == [0, 1]
    assert alignment.resized == (1,)
    assert not alignment.missed


def test_the_same_function_in_another_module_is_another_call():
    alignment = align_calls([event("conv", "b")], [heard("conv", 0, "a")])
    assert rows(alignment) == [UNATTRIBUTED]
    assert alignment.lost == (0,)


def test_what_operands_are_made_of_belongs_to_the_first_row_that_uses_it():
    weight, scaled, doubled, x, y, z = (torch.zeros(1) for _ in range(6))
    calls = [
        heard("mul", None, operands=(weight,), results=(scaled,)),
        heard("mul", None, operands=(scaled,), results=(doubled,)),
        heard("conv", 5, operands=(x, doubled), results=(y,)),
        heard("conv", 6, operands=(y, doubled), results=(z,)),
        heard("mul", None, operands=(weight,), results=(weight,)),
    ]
    alignment = align_calls([event(call.name) for call in calls], calls)
    assert rows(alignment) == [5, 5, 5, 6, UNATTRIBUTED]
    assert [aligned.is_layer for aligned in alignment.calls] == [False, False, True, True, False]


def test_a_tensor_written_again_and_again_belongs_to_its_reader():
    mask, x = torch.zeros(1), torch.zeros(1)
    calls = [heard("mul", None, operands=(mask,), results=(mask,)) for _ in range(4)]
    calls.append(heard("conv", 0, operands=(x, mask), results=(x,)))
    assert rows(align_calls([event(call.name) for call in calls], calls)) == [0] * 5


def test_long_runs_that_differ_in_one_place_are_matched():
    calls = [heard("conv", number, f"layer{number}") for number in range(3000)]
    events = [event("conv", f"layer{number}") for number in range(3000) if number != 1500]
    alignment = align_calls(events, calls)
    assert alignment.lost == (1500,)
    assert not alignment.missed


def test_a_count_in_a_buffer_belongs_to_its_module():
    """In train mode a batch norm counts its batches, in a call that a trace passes over."""
    events = [event("add_", "bn", None), event("conv", "bn"), event("add_", "other", None), event("relu")]
    alignment = align_calls(events, [heard("conv", 0, "bn"), heard("relu", 1)])
    assert rows(alignment) == [0, 0, None, 1]
    assert [aligned.is_layer for aligned in alignment.calls] == [False, True, False, True]
