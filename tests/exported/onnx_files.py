"""ONNX files that tests make themselves: small graphs, written to a folder of the test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

onnx = pytest.importorskip("onnx", reason="needs the package onnx")
numpy = pytest.importorskip("numpy")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import cnnstat  # noqa: E402

FLOAT, INT64, INT8, UINT8, INT32, BOOL = (
    TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.BOOL,
)  # fmt: skip

node = helper.make_node


def tensor(name: str, shape: Sequence[int], dtype: Any = numpy.float32) -> Any:
    """Return a stored tensor whose numbers differ from those of every other name."""
    generator = numpy.random.default_rng(len(name) + sum(map(ord, name)))
    values = generator.normal(size=tuple(shape)) if numpy.dtype(dtype).kind == "f" else generator.integers(-9, 9, shape)
    return numpy_helper.from_array(numpy.asarray(values).astype(dtype), name)


def numbers(name: str, *values: float, dtype: Any = numpy.int64) -> Any:
    return numpy_helper.from_array(numpy.array(values, dtype), name)


def number(name: str, value: float, dtype: Any = numpy.float32) -> Any:
    return numpy_helper.from_array(numpy.array(value, dtype), name)


def declared(name: str, shape: Iterable[Any] | None, dtype: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, dtype, shape)


def model(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[str],
    stored: Sequence[Any] = (),
    *,
    opset: int = 17,
    ir_version: int = 8,
    functions: Sequence[Any] = (),
    domains: Sequence[tuple[str, int]] = (),
    sparse: Sequence[Any] = (),
) -> Any:
    results = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph(nodes, "main", inputs, results, list(stored), sparse_initializer=list(sparse))
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(*each) for each in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, functions=list(functions))


def saved(folder: Path, built: Any, name: str = "model.onnx") -> str:
    path = folder / name
    path.write_bytes(built if isinstance(built, bytes) else built.SerializeToString())
    return str(path)


def analyzed(folder: Path, built: Any, input: Any = None, **options: Any) -> Any:
    return cnnstat.analyze(saved(folder, built), input, **options)


def macs(analysis: Any) -> list[int]:
    """Return the multiply-accumulates of the layers that have any."""
    return [layer.macs for layer in analysis.layers if layer.macs]


def output_shapes(analysis: Any) -> list[tuple[int, ...]]:
    return [analysis.values.outputs[value][output] for value, output in analysis.graph.outputs]


def convolution(**attributes: Any) -> Any:
    """Return a model of one convolution of 3 to 8 channels, 3×3."""
    return model(
        [node("Conv", ["x", "w", "b"], ["y"], **attributes)],
        [declared("x", ["batch", 3, 16, 16])],
        ["y"],
        [tensor("w", (8, 3, 3, 3)), tensor("b", (8,))],
    )
