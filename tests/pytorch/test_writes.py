"""Writes into parts of tensors: what is read where, held against a brute-force walk over single positions."""

import pytest

torch = pytest.importorskip("torch")
hypothesis = pytest.importorskip("hypothesis")
nn, F = torch.nn, torch.nn.functional
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies

import cnnstat  # noqa: E402  # needs torch

LENGTH = 24


class Net(nn.Module):
    """A convolution of three positions, and a forward pass that is given."""

    def __init__(self, run):
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3, padding=1, bias=False)
        self.run = run

    def forward(self, x):
        return self.run(self, x)


def intervals(net):
    """The first and last input position that each output position really reads, by gradients of ones."""
    nn.init.ones_(net.conv.weight)
    x = torch.ones(1, 2, LENGTH, dtype=torch.float64, requires_grad=True)
    made = net.double()(x)
    found = []
    for place in range(made.shape[-1]):
        (gradient,) = torch.autograd.grad(made[..., place].sum(), x, retain_graph=True, allow_unused=True)
        read = gradient[0].sum(0).nonzero().flatten().tolist() if gradient is not None else []
        found.append((read[0], read[-1]) if read else None)
    net.float()
    return found


def shifted(m, x):
    out = torch.zeros_like(x)
    out[..., 1:] = m.conv(x)[..., :-1]
    return out


def shifted_over(m, x):
    y = m.conv(x)
    y[..., 1:] = x[..., :-1]
    return y


def both_ways(m, x):
    y, out = m.conv(x), torch.zeros_like(x)
    out[:, :1, :-1] = y[:, :1, 1:]
    out[:, 1:, 1:] = y[:, 1:, :-1]
    return m.conv(out)


def interleaved(m, x):
    out = torch.zeros(1, 2, 2 * LENGTH)
    out[..., ::2] = m.conv(x)
    out[..., 1::2] = x
    return out


def copied(m, x):
    out = x.clone()
    out[..., 2:10].copy_(m.conv(x)[..., 4:12])
    return out


def added(m, x):
    out = m.conv(x)
    out[..., 1:] += x[..., :-1]
    return out


def narrowed(m, x):
    out = m.conv(x)
    out.narrow(2, 3, 5).add_(x[..., :5])
    return out


def overwritten(m, x):
    out = m.conv(m.conv(x))
    out[...] = x
    return out


CASES = {
    shifted: (3, 1, -2),
    shifted_over: (3, 1, -1),
    both_ways: (7, 1, -3),
    interleaved: (3, 0.5, -1),
    copied: (3, 1, 0),
    added: (3, 1, -1),
    narrowed: (5, 1, -1),
    overwritten: (1, 1, 0),
}


@pytest.mark.parametrize("run", CASES, ids=lambda run: run.__name__)
def test_fields_of_written_tensors(run):
    analysis = cnnstat.analyze(Net(run), (1, 2, LENGTH))
    field = analysis.layers[-1].receptive_field
    size, stride, start = CASES[run]
    assert (field.size, field.stride, field.start, field.exact) == ((size,), (stride,), (start,), True)
    assert not field.global_context


SLICES = st.builds(slice, st.integers(0, 8), st.integers(12, LENGTH), st.integers(1, 3))


@settings(max_examples=40, deadline=None)
@given(SLICES, st.integers(0, 10), st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_random_writes_read_what_gradients_reach(part, offset, over_zeros, by_view, one_channel, then_conv):
    count = len(range(*part.indices(LENGTH)))
    offset = min(offset, LENGTH - count)
    index = (slice(None), slice(0, 1) if one_channel else slice(None), part)

    def run(m, x):
        y = m.conv(x)
        out = torch.zeros_like(x) if over_zeros else y.clone()
        value = (x * 2)[index[0], index[1], offset : offset + count]
        if by_view:
            out[index].copy_(value)
        else:
            out[index] = value
        return m.conv(out) if then_conv else out

    net = Net(run)
    truth = intervals(net)
    analysis = cnnstat.analyze(net, (1, 2, LENGTH))
    (edge,) = analysis.graph.outputs
    (field,) = (track.field for track in analysis.fields.traces[edge.value][edge.output].tracks if track is not None)
    for place, read in enumerate(truth):
        ours = field.at(place)
        if read is not None:
            assert ours is not None
            assert max(0, ours[0]) <= read[0] <= read[1] <= min(LENGTH - 1, ours[1])
            # A write over zeros, or in one of several channels, goes on at both ends as a padding does.
            if not (over_zeros or one_channel or then_conv):
                assert (max(0, ours[0]), min(LENGTH - 1, ours[1])) == read
