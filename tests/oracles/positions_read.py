"""The inputs that positions of a model's result read, by gradients, beside the receptive field that is said of them."""

import itertools

import pytest

import cnnstat
from cnnstat.analysis.receptive_field.fields import Extent

torch = pytest.importorskip("torch")


def read_by_gradient(result, x, position):
    """For each spatial axis of x the first and last index that a position of a result reads; None if it reads none.

    position: by axis of the result; all of the other axes is taken.
    """
    picked = result[tuple(position.get(axis, slice(None)) for axis in range(result.dim()))]
    if not picked.requires_grad:
        return None
    weights = torch.rand(picked.shape, dtype=picked.dtype, generator=torch.Generator().manual_seed(1)) + 0.5
    (gradient,) = torch.autograd.grad((picked * weights).sum(), x, retain_graph=True, allow_unused=True)
    places = None if gradient is None else gradient.abs().sum((0, 1)).gt(1e-14).nonzero()
    if places is None or not len(places):
        return None
    return tuple(zip(places.amin(0).tolist(), places.amax(0).tolist()))


def compared_fields(model, shape, *, strict=True):
    """Hold the field of a model's result against gradients; returns its extent and the field.

    Positions at both ends and in the middle of each axis are compared: an exact field is reached to its ends unless
    these lie outside the input, a bound is never passed, and what sees the whole input reaches all of it.
    Strictly, gates and statistics belong to the field; otherwise gradients may reach further than a field beside them.
    """
    torch.manual_seed(0)
    model = model.double().eval()
    x = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 0.6)
    result = model(x)
    analysis = cnnstat.analyze(model, x.detach(), strict_receptive_field=strict)
    (edge,) = analysis.graph.outputs
    fields = analysis.fields
    extent, found = fields.extent(*edge), fields.of(*edge)
    lengths = shape[2:]
    everything = tuple((0, length - 1) for length in lengths)
    if extent is Extent.WHOLE:
        ends = itertools.product((0, -1), repeat=result.dim() - 2)
        read = {read_by_gradient(result, x, dict(enumerate(at, start=2))) for at in ends}
        assert all(each == everything for each in read) if strict else everything in read
    if found is None:
        return extent, found
    coordinates = fields.coordinates(*edge)
    places = sorted({digit.place for each in coordinates.values() if each for digit in each.digits})
    tried = [sorted({0, size // 2 - 1, size // 2, size - 1} & set(range(size))) for size in result.shape]
    for at in itertools.product(*(tried[place] for place in places)):
        position = dict(zip(places, at))
        read = read_by_gradient(result, x, position)
        said = [along if each is None else each.at(position) for each, along in zip(coordinates.values(), everything)]
        if None in said and found.global_context:
            continue  # what a gate brings in stands beside the field
        if None in said or read is None:
            assert read is None and (None in said or any(lo >= n or hi < 0 for (lo, hi), n in zip(said, lengths)))
            continue
        for (lo, hi), (first, last), length in zip(said, read, lengths):
            if found.global_context:
                assert first <= max(lo, 0) and last >= min(hi, length - 1), (position, said, read)
                continue
            assert lo <= first and last <= hi, (position, said, read)
            if found.exact:
                assert (lo < 0 or first == lo) and (hi >= length or last == hi), (position, said, read)
    return extent, found
