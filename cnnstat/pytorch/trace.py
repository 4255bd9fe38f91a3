"""One forward pass of a model, recorded as a layer graph."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from cnnstat.errors import CnnstatError, ModelError, printable
from cnnstat.ir.graph import Edge, Graph, collector_paused
from cnnstat.ir.recorded_call import RecordedCalls
from cnnstat.numbers import listed
from cnnstat.ops.traced import UNUSED
from cnnstat.pytorch.assemble import assemble
from cnnstat.pytorch.autograd_pass import SavedStorages, needs_autograd_pass, trains_otherwise
from cnnstat.pytorch.builder import Builder
from cnnstat.pytorch.calls import CallRecord
from cnnstat.pytorch.construct import error_line, no_exit
from cnnstat.pytorch.example import Example, ExampleTensors, misnamed
from cnnstat.pytorch.fake import Faker
from cnnstat.pytorch.followed_threads import check_followed, followed_threads
from cnnstat.pytorch.gpu_simulation import simulated_gpu
from cnnstat.pytorch.kept_state import Attributes, changed_behind, what_is_read
from cnnstat.pytorch.model_code import plain_types
from cnnstat.pytorch.model_isolation import one_at_a_time, preserved, substituted
from cnnstat.pytorch.module_stack import (
    Modules,
    ModuleStack,
    has_lazy_tensors,
    modules_of,
    passing_buffers,
    tensors_of,
)
from cnnstat.pytorch.operators import without_loops_over_boxes
from cnnstat.pytorch.packed_weights import packed_tensors
from cnnstat.pytorch.recorder import DispatchMode, FunctionMode, Recorder, TracerError, ValueNeededError
from cnnstat.pytorch.state_dict_file import further_file_bytes
from cnnstat.pytorch.tensor_origins import Origin
from cnnstat.pytorch.tensors import results_in
from cnnstat.pytorch.thread_changes import quiet

MakeRecorder = Callable[[Builder, ModuleStack, "Faker | None", list[torch.Tensor]], Recorder]
"""What makes the recorder of a pass, from the builder, the module stack, the faker and the input tensors."""


def recording_into(records: list[CallRecord] | None = None, builders: list[Builder] | None = None) -> MakeRecorder:
    """Return what makes recorders that put every call of their own pass, and of none before it, into a list.

    builders: gets the builder of each pass, if given.
    """

    def make(builder: Builder, stack: ModuleStack, faker: Faker | None, inputs: list[torch.Tensor]) -> Recorder:
        if records is not None:
            # A pass that fails on fake tensors is made again for real.
            records.clear()
        if builders is not None:
            builders.append(builder)
        return Recorder(builder, stack, faker, records)

    return make


@dataclass(frozen=True, slots=True)
class PassOptions:
    """How a pass is made.

    dtype: of the model, its own if None; seed: what random generators start from; gradients: whether autograd follows.
    draw: which of several sequences of random numbers follows from the seed, for the same inputs.
    input_dtype: of inputs that are given by their sizes, the model's if None.
    """

    dtype: torch.dtype | None
    name: str
    source: str
    mode: str
    seed: int
    make_recorder: MakeRecorder
    gradients: bool = False
    draw: int = 0
    input_dtype: torch.dtype | None = None


def traced(model: nn.Module, example: Example, faker: Faker | None, options: PassOptions) -> Graph:
    """Return the graph of one pass, on fake tensors if there is a faker."""
    had_compiler = "torch._dynamo" in sys.modules
    try:
        return _pass(model, example, faker, options)
    except TracerError:
        raise
    except Exception as error:
        if options.dtype is None and options.input_dtype is None and "type" in str(error):
            # Where weights differ in dtype, adapters on a bfloat16 base say, inputs may have PyTorch's usual one.
            with contextlib.suppress(Exception):
                return traced(model, example, faker, replace(options, input_dtype=torch.get_default_dtype()))
        if not options.gradients and "does not require grad" in str(error):
            # Gradients taken in the forward pass: a step of training, or forces from an energy.
            return traced(model, example, faker, replace(options, gradients=True))
        if had_compiler or "torch._dynamo" not in sys.modules:
            raise
        # torch.cond and FlexAttention load the compiler and compile themselves; it can be held back from now on.
        return _pass(model, example, faker, options)


def _pass(model: nn.Module, example: Example, faker: Faker | None, options: PassOptions) -> Graph:
    """Return the graph of one pass, whatever PyTorch's compiler does."""
    modules = modules_of(model)
    dtype = options.dtype or main_dtype(modules)
    with (
        preserved(modules, options.seed) as generators,
        torch.set_grad_enabled(options.gradients),
        _quiet(),
        substituted(modules, faker) as pairs,
    ):
        has_mode = _set_mode(modules, options.mode == "train")
        inputs = ExampleTensors(example, model, options.input_dtype or dtype, faker)
        attributes = Attributes(modules)

        def forward(make_recorder: MakeRecorder) -> tuple[Builder, Recorder, ModuleStack, Any, list[Any]]:
            """Run the model; returns what was recorded, its result, and the random generators it drew from."""
            builder = Builder(len(inputs.tensors), str(dtype).removeprefix("torch."))
            builder.is_training = options.mode == "train"
            _store(builder, modules, pairs, options.dtype)
            for number, tensor in enumerate(inputs.tensors):
                builder.origins.note(Origin(tensor, Edge(number)))
            stack = ModuleStack(modules)
            recorder = make_recorder(builder, stack, faker, inputs.tensors)
            on_shapes = contextlib.ExitStack()
            if faker is not None:
                on_shapes.enter_context(without_loops_over_boxes())
                on_shapes.enter_context(collector_paused())
            # The function mode is innermost, so that it sees a call first; what that dispatches to comes to the other.
            # Inputs are drawn too where the pass is real.
            generators.seed(options.seed + options.draw)
            with (
                generators.watched() as drawn,
                on_shapes,
                plain_types(modules),
                simulated_gpu(),
                no_exit(options.name),
                followed_threads(),
                stack.following(),
                DispatchMode(recorder),
                FunctionMode(recorder),
            ):
                result = model(*inputs.arguments, **inputs.keywords)
                if isinstance(result, Iterator):
                    result = tuple(result)
            check_followed(not stack.elsewhere)
            return builder, recorder, stack, result, drawn

        builder, recorder, stack, result, drawn = forward(options.make_recorder)
        seeds, is_seeded = generators.seeds_of_system(), generators.are_seeded_with(options.seed + options.draw)
        kept, number = attributes.changed(builder.origins)
        state = ""
        if kept or number:
            records: list[CallRecord] = []
            with contextlib.suppress(Exception):
                again, *_ = forward(recording_into(records))
                state = what_is_read(kept, number, builder, again, records)
        builder.changes_autograd |= stack.regions.is_entered or any(trains_otherwise(module) for _, module in modules)
        replaced = set(attributes.replaced_buffers())
        changed = [t.name for t in builder.ownership.tensors if t.owner is not None and t.name in replaced]
        outputs = tuple(_output_edges(builder, result, stack))
        read = builder.ownership.owners if builder.log.writes or builder.log.fills else ()
        graph = assemble(builder, modules, tuple(inputs.inputs), outputs, name=options.name, source=options.source)
        changed += changed_behind(builder.log, read, graph)
    messages = (*_bound_notes(recorder), *_unused_notes(graph))
    if not has_mode:
        messages = (*messages, f"the model cannot be set to {options.mode} mode: it is counted as it was exported")
    about: dict[str, Any] = {"notes_torch": messages} if messages else {}
    # The model is as it was by now, with its own tensors.
    if further := further_file_bytes(modules, builder.ownership.tensors, keeps_dtype=options.dtype is None):
        about["further_file_bytes"] = further
    if recorder.reader is not None:
        where = f"{recorder.reader} " * bool(recorder.reader)
        about["unrepeated"] = (
            f"{printable(where) or 'it '}goes by values that an input, a parameter or an earlier pass decides"
        )
    elif changed or state:
        about["unrepeated"] = f"{printable(state or changed[0])} is changed while the model runs"
    elif drawn and not is_seeded:
        about["unrepeated"] = "it seeds random generators while it runs"
    # Numbers of Python's and NumPy's generators may decide anything, those in a tensor only where they are read.
    if any(recorder.reads_values or not isinstance(each, torch.Generator) for each in drawn):
        about["draws"] = seeds
    return replace(graph, about=about)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep models' warnings and PyTorch's logs off the terminal, and compiled parts from being compiled."""
    stance = getattr(torch.compiler, "set_stance", None) if "torch._dynamo" in sys.modules else None
    with quiet(), stance("force_eager") if stance else contextlib.nullcontext():
        yield


def main_dtype(modules: Modules) -> torch.dtype:
    """Return the dtype that most of a model's floating-point numbers have that layers compute in."""
    dtypes = {tensor.dtype for _, module in modules for tensor in module._parameters.values() if tensor is not None}
    if len(dtypes) == 1 and _computes(next(iter(dtypes))):
        return dtypes.pop()
    floats = [t for _, t, is_parameter in tensors_of(modules) if is_parameter and _computes(t.dtype)]
    counts: Counter[torch.dtype] = Counter()
    for tensor in floats:
        if not nn.parameter.is_lazy(tensor):
            counts[tensor.dtype] += tensor.numel()
    return counts.most_common(1)[0][0] if counts else torch.get_default_dtype()


def _computes(dtype: torch.dtype) -> bool:
    """Whether layers compute in a dtype; floating-point numbers of one byte are kept, and converted to be used."""
    return dtype.is_floating_point and dtype.itemsize > 1


def _set_mode(modules: Modules, training: bool) -> bool:
    """Set a model to training or evaluation; False for exported and frozen ones, which have one fixed mode."""
    if all(_is_in_mode(module, training) for _, module in modules):
        return True
    try:
        modules[0][1].train(training)
    except (NotImplementedError, AttributeError):
        return False
    return True


def _is_in_mode(module: nn.Module, training: bool) -> bool:
    """Whether a module is in a mode already, and does nothing of its own to get there."""
    attributes = vars(module)
    return (
        attributes.get("training") is training and "train" not in attributes and type(module).train is nn.Module.train
    )


def _store(
    builder: Builder,
    modules: Modules,
    pairs: Iterable[tuple[torch.Tensor, torch.Tensor]],
    dtype: torch.dtype | None,
) -> None:
    """Make all parameters and buffers known to the builder; pairs: real tensors and their substitutes."""
    real = {id(substitute): tensor for tensor, substitute in pairs}
    seen: set[int] = set()
    passing = passing_buffers(modules)
    for name, substitute, is_parameter in tensors_of(modules):
        if id(substitute) not in seen:
            seen.add(id(substitute))
            tensor = real.get(id(substitute), substitute)
            stored = builder.store(name, tensor, substitute, is_parameter, name not in passing)
            # Scripted modules keep their tensors, and so their dtype, where another dtype is asked for.
            if dtype is not None and substitute.is_floating_point():
                stored.dtype = str(dtype).removeprefix("torch.")
    builder.log.attributes = [(tensor, substitute) for tensor, substitute in pairs if id(substitute) not in seen]
    for name, tensor in packed_tensors(modules):
        builder.store(name, tensor, tensor, is_parameter=True)


def _output_edges(builder: Builder, result: Any, stack: ModuleStack) -> Iterator[Edge]:
    """Yield where the tensors of a result come from."""
    for tensor in results_in(result):
        yield builder.result(tensor, stack.calls[0])


def _bound_notes(recorder: Recorder) -> list[str]:
    """Return what was assumed where values decide how much there is, and what work on weights is not counted."""
    message = []
    if recorder.bounded:
        names = ", ".join(sorted(recorder.bounded))
        message.append(f"how much is kept by {names} depends on values; counted as if all were kept: an upper bound")
    if recorder.follows_values:
        message.append("values that are given decide the path, or how much is kept: the result holds for this input")
    if recorder.builder.uncounted:
        message.append(f"work on weights by {', '.join(sorted(recorder.builder.uncounted))} is not counted")
    return message


def _unused_notes(graph: Graph) -> list[str]:
    """Return which modules this forward pass does not use."""
    names = [node.name for node in graph.nodes if node.op.kind == UNUSED and node.op.weights(())]
    if not names:
        return []
    return [f"this forward pass does not use the parameters of {listed(names)}"]


MAX_REAL_BYTES = 4 * 2**30
"""Models larger than this are not run for real."""


@one_at_a_time()
def trace(
    model: nn.Module,
    example: Example,
    *,
    name: str,
    source: str,
    dtype: str | None,
    mode: str,
    seed: int,
    may_run: bool = True,
    tries_draws: bool = True,
    calls: list[CallRecord] | None = None,
) -> Graph:
    """Return the layer graph of one forward pass.

    The pass runs on fake tensors, which have shapes only; where the model needs values, it runs for real, on random
    ones. `Graph.about` says under `notes_torch` what the result rests on, and holds under `other_paths` the graphs of
    other draws where random numbers decide the path. The model is left as it was.
    mode: `eval` or `train`; may_run: whether it may be run for real; tries_draws: whether other draws are tried;
    calls: gets every call, if given.
    Raises ModelError.
    """
    model = getattr(model, "_orig_mod", model)
    if has_lazy_tensors(modules_of(model)):
        model = _lazy_copy(model)
    kind = None if dtype is None else getattr(torch, dtype)
    options = PassOptions(kind, name, source, mode, seed, recording_into())

    def on_fakes(options: PassOptions, calls: list[CallRecord] | None = None) -> Graph:
        builders: list[Builder] = []
        again = replace(options, make_recorder=recording_into(calls, builders))
        graph = traced(model, example, Faker(kind), again)
        return _with_saved_bytes(graph, builders[-1], model, example, options, on_fakes=True)

    try:
        return _with_other_paths(on_fakes(options, calls), options, on_fakes if tries_draws else None)
    except TracerError:
        raise
    except Exception as error:
        if isinstance(error, CnnstatError) or not may_run or not _can_run(model):
            raise _failed(error, name, misnamed(model, example)) from error
        reason = error
    try:
        real = copy.deepcopy(model).to(kind) if kind is not None else model
        builders: list[Builder] = []
        first = traced(real, example, None, replace(options, make_recorder=recording_into(calls, builders)))
        first = _with_saved_bytes(first, builders[-1], real, example, options, on_fakes=False)
        run = (lambda again: traced(real, example, None, again)) if tries_draws else None
        graph = _with_other_paths(first, options, run)
    except Exception as error:
        raise _failed(error, name, misnamed(model, example)) from error
    return replace(graph, about={**graph.about, "notes_torch": (_real_note(reason), *notes(graph))})


def _with_saved_bytes(
    graph: Graph, builder: Builder, model: nn.Module, example: Example, options: PassOptions, *, on_fakes: bool
) -> Graph:
    """Return a graph with what autograd keeps, if a pass with gradients has to find it, on fakes or for real."""
    if not needs_autograd_pass(graph, builder):
        return graph
    # Training memory is that of a training step, as far as the model can make one.
    for mode in dict.fromkeys(("train", options.mode)):
        storages = SavedStorages()
        try:
            with storages.hooks():
                traced(
                    model,
                    example,
                    Faker(options.dtype) if on_fakes else None,
                    replace(options, mode=mode, make_recorder=storages.recorder, gradients=True),
                )
        except Exception:
            continue
        return replace(graph, saved_bytes=storages.bytes)
    message = "no pass with gradients can be made: training memory follows the rules of the ops and is an estimate"
    return replace(graph, about={**graph.about, "notes_torch": (*notes(graph), message)})


DRAWS = 8
"""How many sequences of random numbers are tried where they may decide the path."""


def _with_other_paths(graph: Graph, options: PassOptions, run: Callable[[PassOptions], Graph] | None) -> Graph:
    """Return a graph with those of other draws under `other_paths`, where numbers that the model draws decide it."""
    about = dict(graph.about)
    seeds = about.pop("draws", None)
    if seeds is None or run is None:
        return replace(graph, about=about)
    others: list[Graph] = []

    def attempt(draw: int) -> tuple[int, ...]:
        # A path that does not run has no figures.
        with contextlib.suppress(Exception):
            others.append(run(replace(options, draw=draw)))
            return tuple(others[-1].about.get("draws", ()))
        return ()

    for draw in range(1, DRAWS):
        attempt(draw)
    # Where a generator took its seed from the system, the first pass again is another pass.
    is_unseeded = bool(seeds) and attempt(0) != seeds
    if seeds and not is_unseeded:
        others.pop()
    if any(path_of(each) != path_of(graph) for each in others):
        about["other_paths"] = tuple(others)
        if is_unseeded:
            about["notes_torch"] = (*notes(graph), _UNSEEDED)
    if any(_made_again(each) != _made_again(graph) for each in others):
        about["unrepeated"] = "random numbers that it draws decide what it computes"
    return replace(graph, about=about)


_UNSEEDED = "a random generator takes a seed of the system, which no --seed decides: figures may differ from run to run"


def path_of(graph: Graph) -> tuple[Any, ...]:
    """Return what a forward pass calls, in order."""
    return graph.outputs, [(node.name, node.op, node.inputs, node.shares) for node in graph.nodes]


def _made_again(graph: Graph) -> list[Any]:
    """Return how the nodes of a pass can be made again, constants by their values."""
    calls = [(node.name, node.inputs, node.shares, node.recorded or node.op) for node in graph.nodes]
    recorded = [node.recorded for node in graph.nodes if isinstance(node.recorded, RecordedCalls)]
    return [graph.outputs, calls, [constant.value.tolist() for each in recorded for constant in each.constants]]


@one_at_a_time()
def trace_for_real(
    model: nn.Module,
    example: Example,
    *,
    name: str,
    source: str,
    mode: str,
    seed: int,
    calls: list[CallRecord] | None = None,
) -> Graph:
    """Return the layer graph of a forward pass that is run for real: it holds for the values of this input.

    The arguments are those of `trace`; the model has its memory. Raises ModelError.
    """
    try:
        return traced(model, example, None, PassOptions(None, name, source, mode, seed, recording_into(calls)))
    except Exception as error:
        raise _failed(error, name) from error


def _lazy_copy(model: nn.Module) -> nn.Module:
    lazy = [buffer for buffer in model.buffers() if nn.parameter.is_lazy(buffer)]
    return copy.deepcopy(model, {id(buffer): nn.parameter.UninitializedBuffer() for buffer in lazy})


def _real_note(reason: Exception) -> str:
    message = (
        "its path depends on values" if isinstance(reason, ValueNeededError) else "it does not run on shapes alone"
    )
    return f"the model was run for real on random values, because {message}: the result holds for this input"


def _can_run(model: nn.Module) -> bool:
    """Whether a model has its memory, and little enough of it, to be run for real."""
    tensors = [*model.parameters(), *model.buffers()]
    if any(tensor.device.type == "meta" for tensor in tensors if not nn.parameter.is_lazy(tensor)):
        return False
    sizes = (tensor.numel() * tensor.element_size() for tensor in tensors if not nn.parameter.is_lazy(tensor))
    return sum(sizes) <= MAX_REAL_BYTES


def _failed(error: Exception, name: str, hint: str = "") -> CnnstatError:
    """Return the one line about a model that did not run; hint: what may be wrong with its input."""
    if isinstance(error, CnnstatError):
        return error
    if isinstance(error, ValueNeededError):
        limit = MAX_REAL_BYTES // 2**30
        return ModelError(
            f"{name}: the path through the model depends on the values of a tensor, and it cannot be run for real: it "
            f"has no weights (meta device), or more than {limit} GiB of them"
        )
    return ModelError(f"{name} does not run on this input: {error_line(error)}{_remedy(error) or hint}")


def _remedy(error: Exception) -> str:
    """Return what to write instead, where the model's own error does not say it."""
    message = str(error)
    if "indices" in message and "Float" in message:
        return "; numbers of words or classes are integers: write --input 1x128:int64"
    if "more than 1 value per channel" in message:
        return "; batch norm in training needs several numbers for each channel: write --batch 2, or --mode eval"
    return ""


@one_at_a_time()
def trace_with(
    model: nn.Module,
    example: Example,
    make_recorder: MakeRecorder,
    *,
    dtype: str | None,
    mode: str,
    seed: int,
    real: bool,
    gradients: bool = False,
) -> Graph:
    """Trace a model once more with a recorder of the caller's, who wants to see what each node came from.

    make_recorder: makes the recorder from the builder, the module stack, the faker and the input tensors.
    real: whether on random values instead of fake tensors; gradients: whether autograd follows the pass.
    The model's own errors come through as they are; a lazy model must have been run before.
    """
    model = getattr(model, "_orig_mod", model)
    kind = None if dtype is None else getattr(torch, dtype)
    if real and kind is not None and any(p.is_floating_point() and p.dtype != kind for p in model.parameters()):
        model = copy.deepcopy(model).to(kind)
    options = PassOptions(kind, "", "", mode, seed, make_recorder, gradients)
    return traced(model, example, None if real else Faker(kind), options)


def notes(graph: Graph) -> tuple[str, ...]:
    """Return what the result of a trace rests on."""
    return tuple(graph.about.get("notes_torch", ()))
