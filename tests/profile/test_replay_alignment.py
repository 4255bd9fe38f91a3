"""Kernels of a replay find those of an ordinary pass."""

from __future__ import annotations

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from cnnstat.profile.traces.kernel_owners import Owner, common, match
from cnnstat.profile.traces.kineto_trace import Signature

WORDS = st.text("abc", max_size=14)


def signatures(word: str) -> list[Signature]:
    return [Signature(letter, (1, 1, 1, 32, 1, 1)) for letter in word]


def longest(first: str, second: str) -> int:
    @cache
    def length(i: int, j: int) -> int:
        if i == len(first) or j == len(second):
            return 0
        same = length(i + 1, j + 1) + 1 if first[i] == second[j] else 0
        return max(same, length(i + 1, j), length(i, j + 1))

    return length(0, 0)


@given(WORDS, WORDS)
def test_common_part_is_as_long_as_can_be(first: str, second: str) -> None:
    pairs = common(signatures(first), signatures(second))
    assert len(pairs) == longest(first, second)
    assert all(first[here] == second[there] for here, there in pairs)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in zip(pairs, pairs[1:]))


def found(replay: str, ordinary: str, rows: str) -> list[int | None]:
    """Rows of a replay's kernels; the ordinary pass's rows are digits, `-` for none."""
    owners = [None if row == "-" else Owner(int(row), False) for row in rows]
    result = match(signatures(replay), list(zip(signatures(ordinary), owners)))
    assert result.same + result.placed + result.unmatched == len(replay)
    return [None if owner is None else owner.row for owner in result.owners]


def test_the_same_kernels_have_the_same_rows() -> None:
    assert found("abca", "abca", "0112") == [0, 1, 1, 2]


def test_another_algorithm_in_place_of_one_layers_kernels_is_that_layers() -> None:
    assert found("axxd", "abcd", "0112") == [0, 1, 1, 2]


def test_another_algorithm_where_two_layers_may_stand_is_nobodys() -> None:
    assert found("axd", "abcd", "0123") == [0, None, 3]


def test_a_kernel_more_between_two_of_one_layer_is_that_layers() -> None:
    assert found("axb", "ab", "00") == [0, 0, 0]
    assert found("axb", "ab", "01") == [0, None, 1]


def test_a_kernel_more_at_an_end_is_its_neighbours() -> None:
    # The library may fill a workspace first; nothing of another layer can stand there.
    assert found("xab", "ab", "01") == [0, 0, 1]


def test_kernels_of_no_row_stay_so() -> None:
    assert found("abc", "abc", "0-1") == [0, None, 1]


def test_grids_tell_kernels_of_one_name_apart() -> None:
    small, large = Signature("gemm", (1,)), Signature("gemm", (2,))
    result = match([large, small], [(small, Owner(0, False)), (large, Owner(1, False))])
    assert result.same == 1


def test_sequences_with_nothing_in_common_end_soon() -> None:
    first, second = signatures("a" * 4000), signatures("b" * 4000)
    assert common(first, second) == []
