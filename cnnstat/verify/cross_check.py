"""The verification of one model: every layer is compared with every reference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from torch import Tensor, nn

from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import Graph, dtype_bytes
from cnnstat.ir.op import Shape
from cnnstat.pytorch.module_stack import modules_of
from cnnstat.pytorch.packed_weights import packed_tensors
from cnnstat.pytorch.tensor_parts import parts_of
from cnnstat.verify import flop_counter, fvcore_count
from cnnstat.verify.findings import (
    NO_REFERENCE,
    LayerFinding,
    Reference,
    ReferenceCount,
    TotalFinding,
    Verdict,
    Verification,
    explained,
    not_comparable,
    unexplained,
)
from cnnstat.verify.forward_pass import Pass, Run, forward_pass, fused_flop_count
from cnnstat.verify.fvcore_count import FvcoreError, Operation, aligned, fvcore_operations
from cnnstat.verify.known_differences import Call, depended_on, flop_counter_reference, fvcore_reference
from cnnstat.verify.model_under_test import ModelUnderTest
from cnnstat.verify.receptive_field_check import check_fields


class PassError(Exception):
    """Why a network could not be run at all."""


def verify_model(model: ModelUnderTest) -> Verification:
    """Compare a network with every reference; raises CnnstatError where no module can be built of it."""
    notes: list[str] = []
    try:
        run = _run(model, notes)
        problem = ""
    except PassError as error:
        run, problem = None, str(error)
    operations, why_no_fvcore = _fvcore_operations(model)
    calls = _calls(model)
    fvcore, outside = _fvcore(model.graph, calls, run, operations)
    layers = tuple(_layer(model, number, call, run, fvcore[number]) for number, call in enumerate(calls))
    fields, field_notes = check_fields(model)
    how = "on random values" if run is not None and run.is_real else "on shapes alone, by PyTorch's meta kernels"
    return Verification(
        analysis=model.analysis,
        layers=layers,
        totals=tuple(_totals(model, run, layers, outside)),
        fields=fields,
        references=(
            Reference("FlopCounterMode", flop_counter.CONVENTION, problem),
            Reference("fvcore", fvcore_count.CONVENTION, why_no_fvcore or problem),
            Reference("forward pass", how, problem),
        ),
        notes=(*notes, *field_notes),
    )


def _run(model: ModelUnderTest, notes: list[str]) -> Pass:
    """Return a forward pass of the same layers as the graph, for real if that is affordable; raises PassError."""
    problem = model.why_not_real
    for real in (True, False):
        if real and problem:
            continue
        try:
            run = forward_pass(model, real=real)
        except CnnstatError:
            raise
        except Exception as error:
            problem = _message(error)
            continue
        if run.names != tuple(node.name for node in model.graph.nodes):
            problem = "it calls other layers than the trace did"
            continue
        if not real:
            notes.append(f"the forward pass ran on shapes alone, without numbers: {problem}")
        return run
    raise PassError(f"could not run: {problem}")


def _message(error: Exception) -> str:
    return ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split())[:200])))


def _fvcore_operations(model: ModelUnderTest) -> tuple[tuple[Operation, ...], str]:
    try:
        return fvcore_operations(model), ""
    except FvcoreError as error:
        return (), str(error)


def _calls(model: ModelUnderTest) -> list[Call]:
    analysis = model.analysis
    dtypes = analysis.values.dtypes[analysis.graph.arity :]
    rows = zip(analysis.graph.nodes, analysis.values.inputs, analysis.work.macs, dtypes)
    return [Call(node.op, inputs, macs, results[0].startswith("complex")) for node, inputs, macs, results in rows]


def _fvcore(
    graph: Graph, calls: Sequence[Call], run: Pass | None, operations: tuple[Operation, ...]
) -> tuple[list[ReferenceCount], int]:
    """Return what fvcore says of each node, and what it counts outside all of them."""
    if run is None or not operations:
        return [NO_REFERENCE] * len(calls), 0
    groups, homeless = aligned(run.runs, operations)
    used = {value - graph.arity for value, _ in depended_on(graph, graph.outputs)}
    counts = [NO_REFERENCE] * len(calls)
    for members, owned in groups:
        is_used = any(number in used for number in members)
        reference = fvcore_reference([calls[number] for number in members], owned, is_used=is_used)
        first, *others = members
        counts[first] = reference
        if others:
            together = f"fvcore's count of {graph.nodes[first].name} is that of {len(members)} calls in its module"
            counts[first] = ReferenceCount(reference.value, reference.verdict, (*reference.reasons, together))
    return counts, sum(each.counted or 0 for each in homeless)


def _layer(model: ModelUnderTest, number: int, call: Call, run: Pass | None, fvcore: ReferenceCount) -> LayerFinding:
    analysis = model.analysis
    node = analysis.graph.nodes[number]
    shapes = analysis.values.outputs[analysis.graph.arity + number]
    dtypes = analysis.values.dtypes[analysis.graph.arity + number]
    own = run.runs[number] if run is not None else None
    has_run = own is not None and own.shapes is not None
    return LayerFinding(
        layer=node.name,
        op=node.op.kind,
        macs=call.macs,
        flop_counter=flop_counter_reference(call, own.evidence)
        if own is not None and (has_run or call.macs)
        else NO_REFERENCE,
        fvcore=fvcore,
        shapes=shapes,
        made=own.shapes if own is not None else None,
        shape=_shape_reference(shapes, dtypes, own),
    )


def _shape_reference(shapes: tuple[Shape, ...], dtypes: tuple[str, ...], run: Run | None) -> ReferenceCount:
    """Return what the forward pass says of the shapes and dtypes of one node's results."""
    if run is None or run.shapes is None:
        return NO_REFERENCE
    if run.shapes != shapes:
        shapes_text = ", ".join("×".join(map(str, shape)) or "a number" for shape in run.shapes)
        return unexplained(None, f"PyTorch makes {shapes_text}")
    if run.dtypes != dtypes:
        return unexplained(None, f"PyTorch makes {', '.join(run.dtypes)}, cnnstat says {', '.join(dtypes)}")
    return ReferenceCount(None)


def _totals(
    model: ModelUnderTest, run: Pass | None, layers: Sequence[LayerFinding], outside: int
) -> Iterable[TotalFinding]:
    totals = model.analysis.totals
    module = model.module(real=model.why_not_real == "")
    own = [(part, each.requires_grad) for each in module.parameters() for _, part in parts_of(each)]
    buffers = [part for each in module.buffers() for _, part in parts_of(each)]
    parameters = [part for part, _ in own] + [tensor for _, tensor in packed_tensors(modules_of(module))]
    for figure, ours, tensors in (
        ("parameters", totals.params, parameters),
        ("trainable parameters", totals.trainable_params, [part for part, is_learnt in own if is_learnt]),
        ("buffers", totals.buffers, buffers),
        ("bytes of parameters", totals.memory.params_bytes, parameters),
        ("bytes of buffers", totals.memory.buffers_bytes, buffers),
    ):
        theirs = sum(
            tensor.numel() * (_element_size(tensor, model.dtype) if "bytes" in figure else 1) for tensor in tensors
        )
        is_equal = ours == theirs
        count = ReferenceCount(theirs) if is_equal else unexplained(theirs, f"the module's {figure} are others")
        yield TotalFinding(figure=figure, reference="PyTorch", ours=ours, theirs=count)
    if run is not None:
        yield _sum("FlopCounterMode", totals.macs, [layer.flop_counter for layer in layers], run.outside)
        fused = _fused_total(model, run)
        if fused is not None:
            yield fused
    if any(layer.fvcore.value is not None for layer in layers):
        yield _sum("fvcore", totals.macs, [layer.fvcore for layer in layers], outside)


def _element_size(tensor: Tensor, dtype: str | None) -> int:
    """Return the bytes of a number; floating-point ones are converted where another dtype is asked for."""
    return dtype_bytes(dtype) if dtype is not None and tensor.is_floating_point() else int(tensor.element_size())


def _sum(reference: str, ours: int, counts: Sequence[ReferenceCount], outside: int) -> TotalFinding:
    theirs = sum(each.value or 0 for each in counts) + outside
    if outside:
        count = unexplained(theirs, f"{reference} counts {outside:,} outside all layers")
    elif theirs == ours:
        count = ReferenceCount(theirs)
    else:
        verdicts = {each.verdict for each in counts if each.reasons}
        worst_first = (Verdict.UNEXPLAINED, Verdict.NO_REFERENCE, Verdict.EXPLAINED)
        verdict = next((verdict for verdict in worst_first if verdict in verdicts), Verdict.UNEXPLAINED)
        count = ReferenceCount(theirs, verdict, ("the layers' differences above",))
    return TotalFinding(figure="MACs", reference=reference, ours=ours, theirs=count)


def _fused_total(model: ModelUnderTest, run: Pass) -> TotalFinding | None:
    """Return what FlopCounterMode says where no recorder is active, if that is less because PyTorch fuses attention."""
    if not run.is_real or model.example is None or not _has_attention(model.module(real=True), run):
        return None
    finding = partial(TotalFinding, figure="MACs", reference="FlopCounterMode alone", ours=model.analysis.totals.macs)
    try:
        fused = fused_flop_count(model)
    except Exception as error:
        return finding(theirs=not_comparable(None, f"it could not run: {_message(error)}"))
    unfused_macs = run.outside + sum(each.evidence.macs for each in run.runs)
    if fused.macs == unfused_macs:
        return None
    unfused = [part for each in run.runs for part in each.evidence.unseen]
    missing = sum(part.macs or 0 for part in fused.unseen) - sum(part.macs or 0 for part in unfused)
    names = dict.fromkeys(part.function for part in fused.unseen if part not in unfused)
    if fused.macs + missing == unfused_macs:
        reason = f"alone, FlopCounterMode does not see into PyTorch's fused attention ({', '.join(names)})"
        return finding(theirs=explained(fused.macs, reason))
    reason = "alone, FlopCounterMode counts differently, for no known reason"
    return finding(theirs=unexplained(fused.macs, reason))


def _has_attention(module: nn.Module, run: Pass) -> bool:
    """Whether a pass has attention, which PyTorch fuses where it can."""
    fusing = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
    calls = (each.function for each in run.runs)
    return "scaled_dot_product_attention" in calls or any(isinstance(each, fusing) for each in module.modules())
