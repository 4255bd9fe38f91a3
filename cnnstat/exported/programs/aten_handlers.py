"""Aten operations of exported programs, and the ops of the library that they are.

The tracer's handlers read calls of PyTorch's functions on PyTorch's tensors. What an op says of its functions (`calls`)
holds for aten too, and is read here without PyTorch; the other operations are those that programs have in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from cnnstat import ops
from cnnstat.choices import words
from cnnstat.errors import OpError
from cnnstat.exported.layer_builder import Match, einsum_of
from cnnstat.exported.programs.aten_call import AtenCall, Handler, ProgramValue
from cnnstat.exported.pytorch_calls import one_call
from cnnstat.ir.function_arguments import LEFT_OUT, Parameter, bound_op, parameters_of, per_axis
from cnnstat.ir.op import Family, Op, Storage, numel
from cnnstat.ir.recorded_call import RecordedCalls, TorchName
from cnnstat.ir.window import IDENTITY, Reads, aligned_reads, sliding
from cnnstat.ir.work import Work
from cnnstat.ops import activation, join, padding, reduction, reorder, resize, shape, slicing
from cnnstat.ops.matmul import MatMul
from cnnstat.ops.rectifier import ReLU6
from cnnstat.ops.shape import regrouped


@cache
def _by_function() -> Mapping[str, tuple[type[Op], tuple[Parameter, ...]]]:
    """Return the op of each function that an op names as its own, with the function's arguments."""
    found: dict[str, tuple[type[Op], tuple[Parameter, ...]]] = {}
    for name in ops.names():
        op = ops.lookup(name)
        for function, arguments in op.calls.items():
            found.setdefault(function.removeprefix("F.").removeprefix("aten."), (op, parameters_of(arguments)))
    return found


def match_of(call: AtenCall) -> Match:
    """Return the op of a call: one of the library where it says all, else what is known of its effect."""
    try:
        handler = HANDLERS.get(call.name)
        found = handler(call) if handler is not None else _from_facet(call)
    except (OpError, LookupError, TypeError, ValueError, AttributeError):
        found = None
    return found if found is not None else recorded(call)


def _from_facet(call: AtenCall) -> Match | None:
    """Return the op whose facet `calls` names the function."""
    known = _by_function().get(call.name)
    if known is None:
        return None
    op, parameters = known
    values: dict[str, Any] = {}
    for _, name, default in parameters:
        value = call.get(*(("input", "self") if name == "input" else (name,)), default=default)
        value = call.is_in_place if name == "inplace" else value
        if value is not LEFT_OUT:
            values[name] = value
    bound = bound_op(op, values, len(call.results), lambda tensor: tensor.shape)
    return Match(bound.op, bound.reads, {name: weight for name, weight in bound.weights.items() if weight is not None})


def _moved(
    call: AtenCall, reads: Reads | None, place: Storage = Storage.VIEW, calls: RecordedCalls | None = None
) -> Match:
    """Return a call that computes nothing; calls: how PyTorch makes it."""
    known = None if reads is None else (reads,)
    return Match(call.recorded(Family.LAYOUT, place=place, reads=known), (call.input,), calls=calls)


def _on_input(make: Callable[[AtenCall], Op]) -> Handler:
    """Return the handler of an operation on one tensor, with the op that its arguments make."""
    return lambda call: Match(make(call), (call.input,))


def _identity(call: AtenCall) -> Reads:
    return tuple((axis, IDENTITY) for axis in range(len(call.input.shape)))


def _reshape(call: AtenCall) -> Match:
    before, (after,) = call.input.shape, call.outputs
    if len(before) > 2 and len(after) == 2 and after[0] == before[0]:
        return Match(shape.Flatten(), (call.input,))
    if len(before) > 1 and len(after) > 1 and after[0] == before[0]:
        return Match(shape.Reshape(after[1:]), (call.input,))
    return _moved(call, regrouped(before, after), calls=one_call("Tensor.reshape", *after))


def _squeeze(call: AtenCall) -> Match:
    dim = call.get("dim")
    if dim is None:
        dim = [axis for axis, size in enumerate(call.input.shape) if size == 1]
    return Match(reorder.Squeeze(per_axis(dim) if isinstance(dim, list) and len(dim) == 1 else dim), (call.input,))


def _slice(call: AtenCall) -> Match:
    axis = call.get("dim", default=0)
    length = call.input.shape[axis]
    begin, stop, step = slice(call.get("start"), call.get("end"), call.get("step", default=1)).indices(length)
    if (begin, stop, step) == (0, length, 1):
        return _moved(call, _identity(call))
    return Match(slicing.Slice(axis, begin, None if stop >= length else stop, step), (call.input,))


def _select(call: AtenCall) -> Match:
    axis = call.get("dim") % len(call.input.shape)
    reads = tuple((a, IDENTITY) for a in range(len(call.input.shape)) if a != axis)
    return _moved(call, reads, calls=one_call("Tensor.select", axis, call.get("index")))


def _split(call: AtenCall) -> Match:
    sizes = call.get("split_size", "split_sizes", "split_size_or_sections")
    return Match(slicing.Split(sizes, call.get("dim", default=0)), (call.input,))


def _expand(call: AtenCall) -> Match:
    calls = one_call("Tensor.expand", *call.outputs[0])
    return _moved(call, aligned_reads(call.input.shape, call.outputs[0]), calls=calls)


def _copy(call: AtenCall) -> Match:
    calls = one_call(f"Tensor.{call.name}") if call.name in ("contiguous", "clone") else None
    if call.name in ("to", "_to_copy"):
        calls = one_call("Tensor.to", TorchName(call.results[0].dtype))
    return _moved(call, _identity(call), Storage.FRESH, calls)


def _binary(op: Any) -> Handler:
    def handle(call: AtenCall) -> Match | None:
        first, second = call.input, call.get("other")
        if call.arguments.get("alpha", 1) != 1 or call.arguments.get("rounding_mode"):
            return None
        if not isinstance(second, ProgramValue):
            second = ProgramValue("", (), first.dtype, number=float(second))
        made = op(inplace=True) if call.is_in_place and op not in (join.Maximum, join.Minimum) else op()
        return Match(made, (first, second))

    return handle


def _reversed(op: Any) -> Handler:
    def handle(call: AtenCall) -> Match:
        number = ProgramValue("", (), call.input.dtype, number=float(call.get("other")))
        return Match(op(), (number, call.input))

    return handle


def _joined(op: Any) -> Handler:
    def handle(call: AtenCall) -> Match:
        tensors = [each for each in call.get("tensors") if len(each.shape) != 1 or each.shape[0]]
        return Match(op(call.get("dim", default=0)), tuple(tensors))

    return handle


def _reduction(op: Any) -> Handler:
    def handle(call: AtenCall) -> Match:
        dim = call.get("dim")
        if dim is None or dim == []:
            dim = list(range(len(call.input.shape)))
        axes = dim if isinstance(dim, int) else dim[0] if len(dim) == 1 else tuple(dim)
        return Match(op(axes, keepdim=bool(call.get("keepdim", default=False))), (call.input,))

    return handle


def _batch_norm(call: AtenCall) -> Match:
    count = max(1, len(call.input.shape) - 2)
    tensors = {name: call.get(name) for name in ("weight", "bias", "running_mean", "running_var")}
    own = {name: value for name, value in tensors.items() if isinstance(value, ProgramValue)}
    op: Any = ops.lookup(f"BatchNorm{count}d")
    momentum = call.get("momentum", default=0.1)
    made = op(eps=call.get("eps", default=1e-5), momentum=momentum, affine="weight" in own, bias="bias" in own)
    return Match(made, (call.input,), own)


def _hardtanh(call: AtenCall) -> Match:
    low, high = call.get("min_val", default=-1.0), call.get("max_val", default=1.0)
    op = ReLU6(call.is_in_place) if (low, high) == (0.0, 6.0) else activation.Hardtanh(low, high, call.is_in_place)
    return Match(op, (call.input,))


def _upsample(call: AtenCall) -> Match:
    mode = call.name.removeprefix("upsample_").rstrip("123d")
    aligned = call.get("align_corners")
    scales = call.get("scale_factors")
    size = call.get("output_size")
    sizes: dict[str, Any] = (
        {"scale_factor": per_axis(scales)} if scales and not size else {"size": per_axis(call.outputs[0][2:])}
    )
    return Match(resize.Upsample(**sizes, mode=mode, align_corners=aligned), (call.input,))


def _pad(call: AtenCall) -> Match | None:
    amounts = call.get("pad")
    if not any(amounts):
        return _copy(call)
    spatial = len(call.input.shape) - 2
    if len(amounts) > 2 * spatial or not 1 <= spatial <= 3 or call.get("mode", default="constant") != "constant":
        return None
    amounts = [*amounts, *[0] * (2 * spatial - len(amounts))]
    value = call.get("value", default=0) or 0
    kind = f"ZeroPad{spatial}d" if not value else f"ConstantPad{spatial}d"
    op: Any = getattr(padding, kind)
    return Match(op(per_axis(amounts)) if not value else op(per_axis(amounts), value), (call.input,))


def _dropout(call: AtenCall) -> Match | None:
    if call.get("train"):
        return _from_facet(call)
    op: Any = ops.lookup("Dropout")
    return Match(op(call.get("p", default=0.5), call.is_in_place), (call.input,))


def _group_of_products(call: AtenCall) -> Match:
    """Addmm and baddbmm: a product that something is added to."""
    first, second = call.get("mat1", "batch1"), call.get("mat2", "batch2")
    count = numel(call.outputs[0])
    work = Work(count * first.shape[-1]) + Work.other("bias", count)
    return Match(call.recorded(Family.LINEAR, work), (call.input, first, second))


_FREE = words(
    """
    clone contiguous detach alias lift_fresh_copy _to_copy to roll index gather scatter zeros ones full arange new_zeros
    new_ones new_empty zeros_like ones_like full_like empty repeat flip stack meshgrid unfold im2col topk sort argmax
    argmin masked_fill index_select tril triu where_self eye linspace copy fill zero constant_pad_nd pad
    """
)
"""Operations that move or make numbers."""

_POINTWISE = words(
    """
    exp log sqrt rsqrt pow erf abs neg reciprocal sin cos tan floor ceil round sign eq ne lt le gt ge logical_and
    logical_or logical_not bitwise_and bitwise_or bitwise_not where clamp clamp_min clamp_max floor_divide remainder
    add sub mul div rsub maximum minimum threshold
    """
)
"""Operations of one step for each element of the result."""


def recorded(call: AtenCall) -> Match:
    """Return a call that no op of the library is, with its work where that is known."""
    is_moving, is_pointwise = call.name in _FREE, call.name in _POINTWISE
    reads = None
    tensors = call.tensors
    if is_pointwise and call.outputs:
        reads = tuple(aligned_reads(each.shape or (), call.outputs[0]) for each in tensors if each.edge is not None)
    count = numel(call.outputs[0]) if call.outputs else 0
    family = Family.LAYOUT if is_moving else Family.ELEMENTWISE if is_pointwise else Family.OTHER
    work = Work.other("element-wise", count if is_pointwise else 0)
    return Match(call.recorded(family, work, reads=reads, modelled=is_moving or is_pointwise), tensors)


def _rolled(call: AtenCall) -> Match:
    """Positions moved on along some axes; the ends that come in again on the other side count as borders."""
    rank, dims = len(call.input.shape), call.get("dims", default=[])
    moved = {dim % rank: shift for dim, shift in zip(dims, call.get("shifts"))}
    reads = tuple((axis, sliding(1, 1, moved.get(axis, 0))) for axis in range(rank)) if dims else None
    return _moved(call, reads, Storage.FRESH)


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "view_as"), _reshape),
    "permute": _on_input(lambda call: reorder.Permute(tuple(call.get("dims")))),
    **dict.fromkeys(("t", "numpy_T", "mT"), _on_input(lambda call: reorder.Transpose(-2, -1))),
    "squeeze": _squeeze,
    "slice": _slice,
    "select": _select,
    **dict.fromkeys(("split", "split_with_sizes"), _split),
    **dict.fromkeys(("expand", "expand_as"), _expand),
    **dict.fromkeys(("contiguous", "clone", "to", "_to_copy", "lift_fresh_copy"), _copy),
    **dict.fromkeys(("detach", "alias", "detach_"), lambda call: _moved(call, _identity(call))),
    "add": _binary(join.Add),
    "sub": _binary(join.Subtract),
    "mul": _binary(join.Multiply),
    "div": _binary(join.Divide),
    "rsub": _reversed(join.Subtract),
    "maximum": _binary(join.Maximum),
    "minimum": _binary(join.Minimum),
    **dict.fromkeys(("cat", "concat", "concatenate"), _joined(join.Concat)),
    "stack": _joined(join.Stack),
    **dict.fromkeys(
        ("matmul", "mm", "bmm", "mv"), lambda call: Match(MatMul(), (call.input, call.get("other", "mat2", "vec")))
    ),
    **dict.fromkeys(("addmm", "baddbmm"), _group_of_products),
    "mean": _reduction(reduction.Mean),
    "sum": _reduction(reduction.Sum),
    "amax": _reduction(reduction.Max),
    "batch_norm": _batch_norm,
    "hardtanh": _hardtanh,
    **dict.fromkeys(("dropout", "feature_dropout"), _dropout),
    "pad": _pad,
    "einsum": lambda call: einsum_of("einsum", call.get("equation"), call.tensors, call.outputs[0]),
    **dict.fromkeys(
        ("swapaxes", "swapdims"),
        _on_input(lambda call: reorder.Transpose(call.get("axis0", "dim0"), call.get("axis1", "dim1"))),
    ),
    "unflatten": _on_input(lambda call: shape.Unflatten(call.get("dim"), tuple(call.get("sizes")))),
    **dict.fromkeys(("unbind", "tensor_split", "diagonal", "as_strided", "narrow"), lambda call: _moved(call, None)),
    **dict.fromkeys(
        words("linalg_vector_norm norm var std prod cumsum logsumexp max min any all var_mean std_mean"),
        # About one step for every element that is read.
        _on_input(lambda call: call.recorded(Family.POOLING, Work.other("pooling", numel(call.input.shape)))),
    ),
    "roll": _rolled,
    **{
        f"upsample_{kind}": _upsample
        for kind in ["nearest1d", "nearest2d", "nearest3d", "linear1d", "bilinear2d", "trilinear3d", "bicubic2d"]
    },
}  # fmt: skip
