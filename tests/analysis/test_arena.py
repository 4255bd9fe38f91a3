"""The arena: no two tensors that live together overlap, and it is near the smallest that there can be."""

import random
from itertools import combinations, permutations

import pytest

import cnnstat
from cnnstat.analysis.arena import ALIGNMENT, MOST_PAIRS, Life, _allocated, plan


def overlapping(lives, offsets):
    """The pairs of storages that are alive together and share an address."""
    alive = [(life, offset) for life, offset in zip(lives, offsets) if life.bytes]
    return [
        (one, other)
        for (one, at), (other, there) in combinations(alive, 2)
        if one.first <= other.last and other.first <= one.last and at < there + other.bytes and there < at + one.bytes
    ]


def lower_bound(lives):
    """The most bytes alive at any step."""
    steps = {step for life in lives for step in (life.first, life.last)}
    return max(sum(life.bytes for life in lives if life.first <= step <= life.last) for step in steps)


def optimum(lives):
    """The smallest arena there is.

    In order of their addresses, storages of the smallest can each be moved down until they meet one below or the
    bottom; so placing them in every order, each at the lowest free address, finds it.
    """
    best = None
    for order in permutations(range(len(lives))):
        placed = {}
        for number in order:
            life = lives[number]
            taken = sorted(
                (at, at + lives[other].bytes)
                for other, at in placed.items()
                if lives[other].first <= life.last and life.first <= lives[other].last
            )
            at = 0
            for start, end in taken:
                if at + life.bytes <= start:
                    break
                at = max(at, -(-end // ALIGNMENT) * ALIGNMENT)
            placed[number] = at
        size = max(at + lives[number].bytes for number, at in placed.items())
        best = size if best is None else min(best, size)
    return best


def some_lives(generator, count):
    """Storages with sizes and lifetimes as short as in networks, some long."""
    lives = []
    for _ in range(count):
        first = generator.randrange(8)
        lives.append(Life(generator.choice((16, 32, 48, 100, 160)), first, first + generator.choice((0, 1, 1, 2, 5))))
    return lives


def test_against_every_order_on_small_graphs():
    generator = random.Random(1)
    found = [(plan(lives), optimum(lives), lives) for lives in (some_lives(generator, 5) for _ in range(150))]
    for arena, best, lives in found:
        assert not overlapping(lives, arena.offsets)
        assert lower_bound(lives) <= best <= arena.bytes
        assert all(offset % ALIGNMENT == 0 for offset in arena.offsets)
    # What is lost is mostly the alignment of a size that is no multiple of 16.
    assert sum(arena.bytes == best for arena, best, _ in found) >= 0.8 * len(found)
    assert sum(arena.bytes < best + ALIGNMENT for arena, best, _ in found) >= 0.98 * len(found)


@pytest.mark.parametrize("seed", range(5))
def test_an_allocator_never_overlaps_either(seed):
    lives = some_lives(random.Random(seed), 60)
    arena = _allocated(lives)
    assert not overlapping(lives, arena.offsets)
    assert arena.bytes >= lower_bound(lives)


def test_more_pairs_than_are_looked_at_are_still_placed():
    count = int((2 * MOST_PAIRS) ** 0.5) + 10
    lives = [Life(16, number, count) for number in range(count)]
    assert plan(lives).bytes == 16 * count


def test_tensors_without_elements_take_no_place():
    assert plan([Life(0, 0, 3), Life(32, 0, 3)]).bytes == 32
    assert plan([]).bytes == 0


@pytest.mark.parametrize("name", ["resnet18", "unet", "yolov3", "maskrcnn_head", "m5"])
@pytest.mark.parametrize("precision", [None, "int8"])
def test_a_network_fits_above_the_lower_bound(name, precision):
    memory = cnnstat.analyze(name, deploy=precision).memory
    lives = list(map(Life, memory.lifetimes.storages.bytes, memory.lifetimes.first, memory.lifetimes.last))
    assert not overlapping(lives, memory.arena.offsets)
    assert memory.peak_inference_bytes <= memory.arena_bytes <= 1.1 * memory.peak_inference_bytes


def test_json_has_the_address_of_every_tensor():
    values = cnnstat.analyze("resnet18", deploy="int8").to_dict()
    arena, memory = values["arena"], values["totals"]["memory"]
    assert (arena["bytes"], arena["alignment"]) == (memory["arena_bytes"], 16)
    assert [each["name"] for each in arena["tensors"]] == ["input", *(each["name"] for each in values["layers"])]
    assert max(each["offset"] + each["bytes"] for each in arena["tensors"]) == arena["bytes"]
    by_name = {each["name"]: each for each in arena["tensors"]}
    # A ReLU works in place, so that its tensor is where the convolution's is.
    assert by_name["relu"]["offset"] == by_name["conv1"]["offset"]
    assert by_name["input"]["first"] is None and by_name["fc"]["last"] is None
