"""Any SOURCE to its model: the list of the kinds, and the only place that tells names, graphs and modules apart."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from cnnstat.choices import Mode, Precision
from cnnstat.errors import RequestError, SourceError, nearest
from cnnstat.files import exists
from cnnstat.ir.graph import Graph
from cnnstat.sources import zoo
from cnnstat.sources.model import GraphReference, ModelReference, ModuleReference, NamedReference
from cnnstat.sources.request import InputShape, Request, check_options, check_seed, input_shape, parse_input, shape_from

ALIKE = 0.75
"""How alike two names must be for `did you mean`: lenet5 is not what googlenet means."""

KINDS = (
    "zoo.SpecReference",
    "onnx_model.OnnxReference",
    "exported_program.ProgramReference",
    "torch_script.TorchScriptReference",
    "weight_file.WeightReference",
    "pytorch.PyTorchReference",
)
"""Kinds of models that a text can name: files of this package and their classes; the first that matches has it."""


def kinds() -> Iterator[type[NamedReference]]:
    """Yield the kinds of models that a text can name; each is imported when it comes to its turn."""
    for kind in KINDS:
        file, name = kind.split(".")
        yield getattr(import_module(f"cnnstat.sources.{file}"), name)


def named_model(text: str, request: Request) -> NamedReference:
    """Return the model that a text names; raises SourceError with the nearest name where it is of no kind."""
    text = _as_meant(text)
    for kind in kinds():
        if kind.matches(text):
            return kind(text, request)
    if not text.strip():
        raise SourceError("SOURCE is empty; name a network of the zoo (`cnnstat list`) or a .yaml file")
    raise SourceError(_unknown(text))


def _as_meant(text: str) -> str:
    """Return a SOURCE in cnnstat's own spelling; raises SourceError for files and places of other tools."""
    zoo_names = zoo.names()
    if text in zoo_names or text == zoo.STDIN or not text.strip() or "\0" in text:
        return text
    is_file = exists(text)
    suffix = Path(text).suffix.lower()
    if is_file and suffix in (*zoo.SUFFIXES, *zoo.OTHER_SUFFIXES):
        return text
    from cnnstat.sources.other_files import FORMATS, described
    from cnnstat.sources.other_tools import respelled

    name = text if is_file else respelled(text, zoo_names)
    if not is_file and name == text and suffix in zoo.OTHER_SUFFIXES and suffix != ".py" and ":" not in text:
        kind = f" is {FORMATS[suffix][0]}; there" if suffix in FORMATS else ": there"
        raise SourceError(f"{text[:100]}{kind} is no such file")
    if ":" not in name and len(name) < 256 and (other := described(name)):
        raise SourceError(f"{text[:100]} is {other}")
    return name


def _unknown(text: str) -> str:
    """Return why a text names no model, with the model that may be meant, in whatever library."""
    from cnnstat.sources.other_tools import library_models, namesake, same_name

    what = f"{text[:100]}: no network of the zoo and no .yaml file"
    if other := same_name(text):
        return f"{what}; {other} is one"
    if file := next(
        (f"{text}{ending}" for ending in (*zoo.SUFFIXES, ".onnx", ".pt2") if exists(f"{text}{ending}")), ""
    ):
        return f"{what}; did you mean {file}?"
    words = text.replace(",", " ").split()
    if len(words) > 1 and all(word in zoo.names() for word in words):
        return f"{what}; `cnnstat compare {' '.join(words)[:80]}` takes several"
    if (other := namesake(text, zoo.names())) and other != text:
        return f"{what}; did you mean {other}?"
    libraries = {each.partition(":")[2]: each for each in reversed(library_models())}
    near = nearest(text, (*zoo.names(), *libraries), ALIKE)
    if near:
        return f"{what}; did you mean {near if near in zoo.names() else libraries[near]}?"
    return f"{what}; `cnnstat list` shows the zoo, and torchvision:NAME or timm:NAME is a model of these libraries"


def load_source(text: str, request: Request) -> Graph:
    """Return the layer graph of the model that a text names; raises what `ModelReference.load` raises."""
    return named_model(text, request).load()


def model_reference(
    source: object,
    input: Any = None,
    *,
    inputs: Any = None,
    batch: int | None = None,
    dtype: str | None = None,
    variables: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
    mode: Mode = "eval",
    seed: int = 0,
    deploy: Precision | None = None,
) -> ModelReference:
    """Return the model that a Python caller gives, with the options of `load`; raises RequestError or SourceError."""
    check_options(batch, dtype, mode, variables, arguments, values)
    check_seed(seed)
    request = Request(
        batch=batch,
        dtype=dtype,
        variables=dict(variables or {}),
        arguments=dict(arguments or {}),
        input_values=dict(values or {}),
        mode=mode,
        seed=seed,
        deploy=deploy,
    )
    values_of_inputs = None if input is None and inputs is None else (input, inputs)
    if isinstance(source, (str, os.PathLike)):
        named = named_model(os.fspath(source), request)
        if isinstance(named, ModuleReference):
            return named.with_request(values=values_of_inputs)
        return named.with_request(inputs=_shapes(input, inputs))
    if isinstance(source, Graph):
        if input is not None or inputs is not None:
            raise RequestError("a Graph is analyzed as it is; load it again with the changes")
        return GraphReference(source, request)
    # Whoever has a module has imported PyTorch; an import here would cost a second for what is none.
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(source, torch.nn.Module):
        raise SourceError(_no_model(source, None if torch is None else torch.nn.Module))
    from cnnstat.sources.pytorch import BuiltModule

    return BuiltModule(source, request).with_request(values=values_of_inputs)


def _shapes(input: Any, inputs: Any) -> dict[str, InputShape]:
    """Return the input shapes for a model by name; the name "" means the only input."""
    if inputs is not None and not isinstance(inputs, Mapping):
        raise RequestError(
            "inputs= takes sizes by name, as in inputs={'image': (3, 224, 224)}; input= takes sizes alone"
        )
    shapes = {name: _shape(shape, f"inputs: {name}") for name, shape in (inputs or {}).items()}
    return shapes if input is None else {**shapes, "": _shape(input, "input")}


def _shape(value: Any, what: str) -> InputShape:
    """Return the sizes of an input, or those of a tensor."""
    if isinstance(value, str):
        return parse_input(value)[1]
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return input_shape(tuple(value.shape), str(value.dtype).removeprefix("torch."))
    shape = shape_from(value)
    if shape is None:
        raise RequestError(f'{what}={str(value)[:60]}: write sizes, as in (3, 224, 224) or "3x224x224"')
    return shape


def _no_model(source: object, module: type | None) -> str:
    """Return why what a caller gives is no model; module: torch.nn.Module, if PyTorch is imported."""
    name = getattr(source, "__name__", type(source).__name__)
    if isinstance(source, type) and module is not None and issubclass(source, module):
        return f"{name} is a class; give an instance of it: {name}(…)"
    if callable(source) and not isinstance(source, type):
        return f"{name} is a function; give the model that it returns: {name}(…)"
    hint = "; give several one by one, as in compare(*models)" if isinstance(source, (list, tuple)) and source else ""
    return f"a model is a name, a path, a Graph or a torch.nn.Module, not {type(source).__name__}{hint}"
