"""One profile from beginning to end: device, a model made ready to be measured, roofline, measurement."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cnnstat.analysis.analysis import analyze_graph
from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import Graph, check_dtype
from cnnstat.profile.cpu import measure_cpu
from cnnstat.profile.device import choose_device, environment, fused_attention, threads
from cnnstat.profile.instrumentation import NetworkInstrumentation
from cnnstat.profile.measurement import Measurement, assemble, with_roofline
from cnnstat.profile.profile_options import Options, Progress
from cnnstat.profile.profile_result import Environment, Profile
from cnnstat.profile.roofline_measurement import find_roofline, remeasure_roofline
from cnnstat.profile.runnable_model import (
    SEED,
    RunnableModel,
    check_run,
    explained_failure,
    moved,
    place,
    with_training,
)
from cnnstat.profile.time_limit import NotSendableError
from cnnstat.pytorch.input_sizes import table_lengths
from cnnstat.pytorch.modules.network import build_network
from cnnstat.pytorch.random_generators import same_random_numbers
from cnnstat.sources.model import ModelReference, ModuleReference, NamedReference

if TYPE_CHECKING:
    from cnnstat.profile.profiler_session import ProfiledPasses


def profile_model(reference: ModelReference, options: Options, progress: Progress, *, refresh: bool) -> Profile:
    """Return a profile; see `cnnstat.profile.profile`."""
    device = choose_device(options.device)
    with same_random_numbers(), threads(options.threads):
        progress.stage("building the model", 1)
        model = prepare_model(reference, options, device)
        progress.step()
        graph = model.analysis.graph
        around = environment(graph, options, device, reference.request.mode)
        roofline = find_roofline(_in_product_dtype(around), device, progress, refresh)
        measurement = _measure(model, options, progress, reference)
        measurement = replace(measurement, notes=(*model.notes, *measurement.notes))
        source = reference.label if isinstance(reference, NamedReference) else graph.source or graph.name
        profile = assemble(
            model.analysis, source, measurement, roofline, around, training=model.training, backward=model.backward
        )
        if measurement.is_stuck or not profile.complete:
            return profile
        return _with_remeasured_roofline(profile, device, progress)


def _in_product_dtype(environment: Environment) -> Environment:
    """Return an environment in the dtype that products compute in: under automatic mixed precision a smaller one."""
    return replace(environment, dtype=environment.settings.get("autocast", environment.dtype))


def _with_remeasured_roofline(profile: Profile, device: torch.device, progress: Progress) -> Profile:
    """Return a profile whose layers are above no roofline that was measured too low."""
    try:
        best, note = remeasure_roofline(
            profile.roofline, profile.layers, _in_product_dtype(profile.environment), device, progress
        )
    except KeyboardInterrupt:
        return replace(profile, complete=False)
    except CnnstatError:
        return profile  # What was measured is worth more than another look at the roofline.
    return with_roofline(profile, best, note) if note else profile


def _measure(model: RunnableModel, options: Options, progress: Progress, reference: ModelReference) -> Measurement:
    """Measure a model in the way of its device; raises CnnstatError where the model fails."""
    with explained_failure(model.analysis.graph.name, (RuntimeError, ValueError, TypeError)):
        if options.compiled:
            from cnnstat.profile.compiled import measure_compiled  # compilers take long to import

            return measure_compiled(model, options, progress)
        if model.device.type != "cuda":
            measurement = measure_cpu(model, options, progress)
            if not options.ops or not measurement.complete or model.device.type != "cpu":
                return measurement
            from cnnstat.profile.profiler_session import record_ops  # only where it is asked for

            ops, memory = record_ops(model)
            rows = {row: size for row, size in memory.items() if 0 <= row < len(model.analysis.graph.nodes)}
            return replace(measurement, ops=ops, memory=rows, peak_bytes=memory.get(-1))
        from cnnstat.profile.cuda.measure import measure_cuda

        with fused_attention(False):
            return measure_cuda(model, options, progress, partial(profile_apart, reference, options))


def profile_apart(reference: ModelReference, options: Options, passes: int, captured: bool) -> ProfiledPasses:
    """Return the profiled passes of a model that is built for them; called in a process of its own."""
    from cnnstat.profile.cuda.measure import profile_on_gpu

    try:
        with fused_attention(False):
            model = prepare_model(reference, options, choose_device(options.device))
            return profile_on_gpu(model, options, passes, captured)
    except CnnstatError as error:
        if isinstance(error.__cause__, torch.cuda.OutOfMemoryError):
            # The first process still has the model, and can profile that.
            raise NotSendableError("the GPU has no memory for the model a second time") from None
        raise


# A model made ready --------------------------------------------------------------------------------------------------


def prepare_model(model: ModelReference, options: Options, device: torch.device) -> RunnableModel:
    """Return a model that is ready to be measured on a device; one that is handed over is left as it was.

    The dtype is that of the options, else of the request, else the model's own.
    Raises CnnstatError where the model cannot be built, run or followed.
    """
    model = model.with_dtype(_checked_dtype(options.dtype or model.request.dtype))
    with same_random_numbers():
        torch.manual_seed(SEED)
        if isinstance(model, ModuleReference):
            from cnnstat.profile.call_instrumentation import prepare_traced  # the tracer is large

            return with_training(prepare_traced(model.runnable(fill_randomly), options, device), options)
        return with_training(_graph_model(model.load(), model.request.mode, options, device), options)


def _checked_dtype(dtype: str | None) -> str | None:
    """Return a dtype's name; raises CnnstatError where there is none, or models cannot compute in it."""
    name = None if dtype is None else check_dtype(dtype)
    if name is not None and not getattr(torch, name).is_floating_point:
        raise CnnstatError(f"--dtype {dtype}: models compute with floating-point numbers; use float32 or bfloat16")
    return name


def _graph_model(graph: Graph, mode: str, options: Options, device: torch.device) -> RunnableModel:
    """Return the module that is built from a layer graph."""
    analysis = analyze_graph(graph)
    network = build_network(graph, None, graph.dtype)
    fill_randomly(network)
    network.train(mode == "train")
    place(network, device, options)
    lengths = table_lengths(graph)
    tensors = [_random_input(each.shape, each.dtype, lengths.get(number)) for number, each in enumerate(graph.inputs)]
    model = RunnableModel(
        module=network,
        arguments=tuple(moved(tensor, device, options) for tensor in tensors),
        keywords={},
        analysis=analysis,
        instrumentation=NetworkInstrumentation(network),
        device=device,
        backward=options.backward,
    )
    with explained_failure(graph.name):
        check_run(model)
    return model


def _random_input(shape: tuple[int, ...], dtype: str, table: int | None) -> Tensor:
    """Return a random input: between 0 and 1, or a place of a table; other whole numbers are zeros."""
    kind: torch.dtype = getattr(torch, dtype)
    if kind.is_floating_point:
        return torch.rand(shape).to(kind)
    return torch.randint(0, table, shape, dtype=kind) if table else torch.zeros(shape, dtype=kind)


@torch.no_grad()
def fill_randomly(model: nn.Module) -> None:
    """Give every parameter random values, and statistics of norms the mean 0 and the variance 1.

    Weights are uniform with variance 1 / fan-in, which keeps the size of activations; factors lie around 1, biases
    around 0. Single numbers (temperatures) stay as the model builds them, as do buffers that hold finite numbers.
    """
    generator = torch.Generator().manual_seed(SEED)
    for name, parameter in model.named_parameters():
        if not nn.parameter.is_lazy(parameter):
            _fill(name.rpartition(".")[2], parameter, generator)
    for name, buffer in model.named_buffers():
        if not nn.parameter.is_lazy(buffer) and buffer.is_floating_point():
            _fill_buffer(name.rpartition(".")[2], buffer, generator)


def _fill(name: str, parameter: Tensor, generator: torch.Generator) -> None:
    """Give one parameter values by its shape and name."""
    if not parameter.is_floating_point():
        return
    if parameter.dim() >= 2:
        fan_in = max(1, parameter.numel() // max(1, parameter.shape[0]))
        bound = math.sqrt(3 / fan_in)
        parameter.uniform_(-bound, bound, generator=generator)
    elif parameter.numel() > 1 or not torch.isfinite(parameter).all():
        is_bias = "bias" in name or "beta" in name
        parameter.uniform_(-0.1 if is_bias else 0.5, 0.1 if is_bias else 1.5, generator=generator)


def _fill_buffer(name: str, buffer: Tensor, generator: torch.Generator) -> None:
    """Give one buffer values if it has none that could be computed with."""
    if name == "running_mean":
        buffer.zero_()
    elif name == "running_var":
        buffer.fill_(1)
    elif buffer.isnan().any():
        buffer.uniform_(-1, 1, generator=generator)
