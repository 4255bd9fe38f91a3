"""The verification of one subject: every witness is heard, and every layer held against them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import Graph
from cnnstat.ir.op import Shape
from cnnstat.verify import flop_counter, fvcore_count
from cnnstat.verify.alignment import aligned
from cnnstat.verify.findings import SILENT, LayerFinding, Testimony, TotalFinding, Verdict, Verification, Witness
from cnnstat.verify.forward_shapes import Pass, Run, forward_pass
from cnnstat.verify.fvcore_count import FvcoreError, Operation, fvcore_operations
from cnnstat.verify.gradient_field import check_fields
from cnnstat.verify.known_differences import Call, flop_counter_testimony, fvcore_testimony
from cnnstat.verify.subject import Subject


class PassError(Exception):
    """Why a network could not be run at all."""


def verify_subject(subject: Subject) -> Verification:
    """Return everything the witnesses say of a network; raises CnnstatError where no module can be built of it."""
    notes: list[str] = []
    try:
        run = _run(subject, notes)
        silence = ""
    except PassError as error:
        run, silence = None, str(error)
    operations, why_no_fvcore = _heard_fvcore(subject)
    calls = _calls(subject)
    fvcore, outside = _fvcore(subject.graph, calls, run, operations)
    layers = tuple(_layer(subject, number, call, run, fvcore[number]) for number, call in enumerate(calls))
    fields, field_notes = check_fields(subject)
    return Verification(
        analysis=subject.analysis,
        layers=layers,
        totals=tuple(_totals(subject, run, layers, outside)),
        fields=fields,
        witnesses=(
            Witness("FlopCounterMode", flop_counter.CONVENTION, silence),
            Witness("fvcore", fvcore_count.CONVENTION, why_no_fvcore or silence),
            Witness("forward pass", _how(run), silence),
        ),
        notes=(*notes, *field_notes),
    )


def _run(subject: Subject, notes: list[str]) -> Pass:
    """Return a forward pass of the same layers as the graph, for real if that is affordable; raises PassError."""
    problem = subject.why_not_real
    for real in (True, False):
        if real and problem:
            continue
        try:
            run = forward_pass(subject, real=real)
        except CnnstatError:
            raise
        except Exception as error:
            problem = _said(error)
            continue
        if run.names != tuple(node.name for node in subject.graph.nodes):
            problem = "it calls other layers than the trace did"
            continue
        if not real:
            notes.append(f"the forward pass ran on shapes alone, without numbers: {problem}")
        return run
    raise PassError(f"could not run: {problem}")


def _said(error: Exception) -> str:
    """Return what an error says, on one line."""
    return ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split())[:200])))


def _how(run: Pass | None) -> str:
    """Return what kind of forward pass it was."""
    return "on random values" if run is not None and run.is_real else "on shapes alone, by PyTorch's meta kernels"


def _heard_fvcore(subject: Subject) -> tuple[tuple[Operation, ...], str]:
    """Return what fvcore saw, and why it could not be heard, if so."""
    try:
        return fvcore_operations(subject), ""
    except FvcoreError as error:
        return (), str(error)


def _calls(subject: Subject) -> list[Call]:
    """Return the nodes with their shapes and our counts."""
    analysis = subject.analysis
    rows = zip(analysis.graph.nodes, analysis.values.inputs, analysis.work.macs)
    return [Call(node.op, inputs, macs) for node, inputs, macs in rows]


def _fvcore(
    graph: Graph, calls: Sequence[Call], run: Pass | None, operations: tuple[Operation, ...]
) -> tuple[list[Testimony], int]:
    """Return what fvcore says of each node, and what it counts outside all of them."""
    if run is None or not operations:
        return [SILENT] * len(calls), 0
    groups, homeless = aligned(run.runs, operations)
    used = _used(graph)
    said = [SILENT] * len(calls)
    for members, owned in groups:
        is_used = any(number in used for number in members)
        testimony = fvcore_testimony([calls[number] for number in members], owned, is_used=is_used)
        first, *others = members
        said[first] = testimony
        if others:
            together = f"fvcore's count of {graph.nodes[first].name} is that of {len(members)} calls in its module"
            said[first] = Testimony(testimony.value, testimony.verdict, (*testimony.reasons, together))
        for number in others:
            said[number] = Testimony(None, Verdict.UNWITNESSED)
    return said, sum(each.counted or 0 for each in homeless)


def _used(graph: Graph) -> set[int]:
    """Return the numbers of the nodes that a result of the network depends on."""
    used: set[int] = set()
    wanted = {edge.value for edge in graph.outputs}
    for number in range(len(graph.nodes) - 1, -1, -1):
        if graph.arity + number in wanted:
            used.add(number)
            wanted.update(edge.value for edge in graph.nodes[number].inputs)
    return used


def _layer(subject: Subject, number: int, call: Call, run: Pass | None, fvcore: Testimony) -> LayerFinding:
    """Return the finding about one node."""
    analysis = subject.analysis
    node = analysis.graph.nodes[number]
    shapes = analysis.values.outputs[analysis.graph.arity + number]
    dtypes = analysis.values.dtypes[analysis.graph.arity + number]
    own = run.runs[number] if run is not None else None
    is_heard = own is not None and own.shapes is not None
    return LayerFinding(
        layer=node.name,
        op=node.op.kind,
        macs=call.macs,
        flop_counter=flop_counter_testimony(call, own.evidence)
        if own is not None and (is_heard or call.macs)
        else SILENT,
        fvcore=fvcore,
        shapes=shapes,
        made=own.shapes if own is not None else None,
        shape=_shape_testimony(shapes, dtypes, own),
    )


def _shape_testimony(shapes: tuple[Shape, ...], dtypes: tuple[str, ...], run: Run | None) -> Testimony:
    """Return what the forward pass says of the shapes and dtypes of one node's results."""
    if run is None or run.shapes is None:
        return SILENT
    if run.shapes != shapes:
        made = ", ".join("×".join(map(str, shape)) or "a number" for shape in run.shapes)
        return Testimony(None, Verdict.UNEXPLAINED, (f"PyTorch makes {made}",))
    if run.dtypes != dtypes:
        said = f"PyTorch makes {', '.join(run.dtypes)}, cnnstat says {', '.join(dtypes)}"
        return Testimony(None, Verdict.UNEXPLAINED, (said,))
    return Testimony(None, Verdict.AGREES)


def _totals(subject: Subject, run: Pass | None, layers: Sequence[LayerFinding], outside: int) -> Iterable[TotalFinding]:
    """Yield the figures of the whole network."""
    totals = subject.analysis.totals
    module = subject.module(real=subject.why_not_real == "")
    for figure, ours, tensors in (
        ("parameters", totals.params, list(module.parameters())),
        ("trainable parameters", totals.trainable_params, [p for p in module.parameters() if p.requires_grad]),
        ("buffers", totals.buffers, list(module.buffers())),
    ):
        theirs = sum(tensor.numel() for tensor in tensors)
        verdict = Verdict.AGREES if ours == theirs else Verdict.UNEXPLAINED
        reasons = () if ours == theirs else (f"the module's {figure} are others",)
        yield TotalFinding(figure=figure, witness="PyTorch", ours=ours, theirs=Testimony(theirs, verdict, reasons))
    if run is not None:
        yield _sum("FlopCounterMode", totals.macs, [layer.flop_counter for layer in layers], run.outside)
        natural = _natural(subject, run)
        if natural is not None:
            yield natural
    if any(layer.fvcore.value is not None for layer in layers):
        yield _sum("fvcore", totals.macs, [layer.fvcore for layer in layers], outside)


def _sum(witness: str, ours: int, said: Sequence[Testimony], outside: int) -> TotalFinding:
    """Return the finding on the sum of all multiply-accumulates."""
    theirs = sum(each.value or 0 for each in said) + outside
    if outside:
        reasons: tuple[str, ...] = (f"{witness} counts {outside:,} outside all layers",)
        return TotalFinding(
            figure="MACs", witness=witness, ours=ours, theirs=Testimony(theirs, Verdict.UNEXPLAINED, reasons)
        )
    if theirs == ours:
        return TotalFinding(figure="MACs", witness=witness, ours=ours, theirs=Testimony(theirs))
    gravest = (Verdict.UNEXPLAINED, Verdict.UNWITNESSED, Verdict.EXPLAINED)
    verdict = next((v for v in gravest if any(each.verdict is v and _differs(each) for each in said)), gravest[0])
    return TotalFinding(
        figure="MACs", witness=witness, ours=ours, theirs=Testimony(theirs, verdict, ("the layers' differences above",))
    )


def _differs(testimony: Testimony) -> bool:
    """Whether a testimony is about a figure of its own."""
    return bool(testimony.reasons)


def _natural(subject: Subject, run: Pass) -> TotalFinding | None:
    """Return what FlopCounterMode says where no one else listens, if that is less because PyTorch fuses attention."""
    if not run.is_real or subject.example is None or not _has_attention(subject.module(real=True), run):
        return None
    from cnnstat.verify.fused_flops import alone

    ours = subject.analysis.totals.macs
    try:
        found = alone(subject)
    except Exception as error:
        said = Testimony(None, Verdict.UNWITNESSED, (f"it could not run: {_said(error)}",))
        return TotalFinding(figure="MACs", witness="FlopCounterMode alone", ours=ours, theirs=said)
    listened = run.outside + sum(each.evidence.macs for each in run.runs)
    if found.macs == listened:
        return None
    unfused = [part for each in run.runs for part in each.evidence.unseen]
    missing = sum(part.macs or 0 for part in found.unseen) - sum(part.macs or 0 for part in unfused)
    names = dict.fromkeys(part.function for part in found.unseen if part not in unfused)
    if found.macs + missing == listened:
        reason = f"alone, FlopCounterMode does not see into PyTorch's fused attention ({', '.join(names)})"
        said = Testimony(found.macs, Verdict.EXPLAINED, (reason,))
    else:
        reason = "alone, FlopCounterMode counts differently, for no known reason"
        said = Testimony(found.macs, Verdict.UNEXPLAINED, (reason,))
    return TotalFinding(figure="MACs", witness="FlopCounterMode alone", ours=ours, theirs=said)


def _has_attention(module: nn.Module, run: Pass) -> bool:
    """Whether a pass has attention, which PyTorch fuses where it can."""
    fusing = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
    calls = (each.function for each in run.runs)
    return "scaled_dot_product_attention" in calls or any(isinstance(each, fusing) for each in module.modules())
