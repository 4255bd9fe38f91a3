"""Work of functions that are no layers, by their definitions: transforms, distances, losses, masks that are known."""

from types import SimpleNamespace
from urllib.error import URLError

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import cnnstat  # noqa: E402


class Calls(nn.Module):
    """A model that calls one function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *tensors):
        return self.function(*tensors)


def analyzed(function, *inputs):
    return cnnstat.analyze(Calls(function), tuple(inputs))


COUNTED = [
    # 5 n log2 n for 64 points, for two signals; half of it where one side is real.
    (lambda x: torch.fft.fft(torch.complex(x, x)), [(2, 64)], 3840),
    (torch.fft.fft, [(2, 64)], 1920),
    (torch.fft.rfft, [(2, 64)], 1920),
    (lambda x: torch.fft.irfft(torch.fft.rfft(x)), [(2, 64)], 3840),
    (torch.fft.fft2, [(1, 8, 8)], 5 * 64 * 6),
    # 10 × 12 pairs, 3 steps in each of 4 dimensions; from 25 rows on PyTorch uses another algorithm.
    (torch.cdist, [(10, 4), (12, 4)], 1440),
    (torch.cdist, [(100, 4), (120, 4)], 144_000),
    (lambda x: x // 2, [(4, 3)], 12),
    (functional.mse_loss, [(4, 3), (4, 3)], 36),
    (functional.binary_cross_entropy_with_logits, [(4, 3), (4, 3)], 96),
    (lambda x: x.histc(5), [(4, 3)], 12),
    (torch.addr, [(3, 4), (3,), (4,)], 24),
    (torch.linalg.inv, [(2, 4, 4)], 256),
    (lambda x: torch.block_diag(x, x), [(4, 3)], 0),
    (lambda x: x.kthvalue(2, 1)[0], [(4, 3)], 0),
]


@pytest.mark.parametrize(("function", "sizes", "flops"), COUNTED)
def test_flops_of_functions_that_are_no_layers(function, sizes, flops):
    analysis = analyzed(function, *sizes)
    assert analysis.uncounted == ()
    assert (analysis.totals.macs, analysis.totals.flops) == (0, flops)


@pytest.mark.parametrize(
    ("name", "sizes", "macs"),
    [
        ("addmm_", [(3, 5), (3, 4), (4, 5)], 60),
        ("baddbmm_", [(2, 3, 5), (2, 3, 4), (2, 4, 5)], 120),
        ("addbmm_", [(3, 5), (2, 3, 4), (2, 4, 5)], 120),
        ("addmv_", [(3,), (3, 4), (4,)], 12),
    ],
)
def test_products_added_in_place(name, sizes, macs):
    analysis = analyzed(lambda x, *factors: getattr(x + 0, name)(*factors), *sizes)
    assert (analysis.totals.macs, analysis.uncounted) == (macs, ())


def test_rows_that_each_meet_one_of_several_matrices():
    if not hasattr(torch, "_grouped_mm"):
        pytest.skip("this PyTorch has no grouped products")
    ends = torch.tensor([3, 8], dtype=torch.int32)
    inputs = [torch.zeros(8, 16, dtype=torch.bfloat16), torch.zeros(2, 16, 24, dtype=torch.bfloat16)]
    analysis = analyzed(lambda x, experts: torch._grouped_mm(x, experts, ends), *inputs)
    assert (analysis.totals.macs, analysis.uncounted) == (8 * 16 * 24, ())


MASK = torch.tensor([True, False, True, False])


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: x[MASK], (2, 3)),
        (lambda x: x[:, MASK[:3]], (4, 2)),
        (lambda x: x.masked_select(MASK[:, None]), (6,)),
    ],
)
def test_what_a_constant_mask_keeps_is_known(function, shape):
    analysis = analyzed(function, (4, 3))
    assert analysis.layers[-1].output_shape == shape
    assert analysis.notes == ()


def test_what_a_computed_mask_keeps_is_an_upper_bound():
    analysis = analyzed(lambda x: x[x > 0], (4, 3))
    assert analysis.layers[-1].output_shape == (12,)
    assert "upper bound" in analysis.notes[0]


def test_results_in_objects_of_objects():
    def cached(x):
        halves = SimpleNamespace(layers=[SimpleNamespace(keys=x + 1), SimpleNamespace(keys=x[:1])])
        halves.itself = halves
        return SimpleNamespace(last=x * 2, cache=SimpleNamespace(own=halves))

    analysis = analyzed(cached, (4, 3))
    shapes = [analysis.values.outputs[edge.value][edge.output] for edge in analysis.graph.outputs]
    assert shapes == [(4, 3), (4, 3), (1, 3)]


def test_a_transform_of_one_point():
    assert analyzed(torch.fft.fft, (3, 1)).totals.flops == 0


def test_a_model_that_fetches_weights_is_asked_but_once():
    from cnnstat.pytorch.construct import construct

    asked = []

    def build(depth=2, encoder_weights="imagenet", pretrained=True):
        asked.append(depth)
        try:
            raise URLError("no route to host")
        except URLError:
            raise RuntimeError("the weights cannot be loaded") from None

    with pytest.raises(cnnstat.CnnstatError, match="write --argument encoder_weights=none --argument pretrained=false"):
        construct(build, {}, "build")
    assert asked == [2]


def test_a_wrong_name_among_any_that_are_taken_is_told_of():
    class Text(nn.Module):
        def forward(self, input_ids=None, **options):
            if input_ids is None:
                raise ValueError("no words")
            return input_ids

    with pytest.raises(cnnstat.CnnstatError, match="inputs_ids is not among .*; did you mean input_ids"):
        cnnstat.analyze(Text(), inputs={"inputs_ids": (1, 16)})
