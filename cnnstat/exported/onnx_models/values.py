"""Values: the tensors of an ONNX graph while it is walked, and the numbers of those that are small and known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy
import onnx

from cnnstat.exported.stored_tensors import Source, StoredTensor
from cnnstat.ir.graph import Edge
from cnnstat.ir.op import Shape

MOST_NUMBERS = 4096
"""Elements up to which the numbers of a tensor are kept and computed with."""

DTYPES: Mapping[int, str] = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16", 17: "float8_e4m3fn",
    18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz", 21: "uint8", 22: "int8",
}  # fmt: skip
"""PyTorch's names of the element types of onnx.TensorProto; those of less than a byte are counted as one."""

STRING = 8
"""The element type of texts, which have no size that is known."""


@dataclass(slots=True, eq=False)
class Value:
    """A tensor of an ONNX graph.

    shape: its sizes, None where they cannot be known before the model runs.
    edge: where it comes from in the layer graph; None for what no input of the model decides.
    tensor, known: its numbers, as far as they are few and known: as the file has them, and as an array.
    sources: the stored tensors that it is made of.
    items: the elements of a sequence.
    """

    element_type: int
    shape: Shape | None
    edge: Edge | None = None
    tensor: Any = None
    known: Any = None
    sources: tuple[Source, ...] = ()
    items: tuple[Value, ...] | None = None
    _type: Any = None

    @property
    def dtype(self) -> str:
        """The dtype under PyTorch's name."""
        return DTYPES.get(self.element_type, "uint8")

    @property
    def is_float(self) -> bool:
        """Whether its numbers are floating-point."""
        return self.dtype.startswith(("float", "bfloat", "complex"))

    @property
    def size(self) -> int:
        """The number of elements; 0 where the shape is not known."""
        return 0 if self.shape is None else math.prod(self.shape)

    @property
    def numbers(self) -> Any:
        """Its numbers as an array of numpy; None where they are many or unknown."""
        if self.known is None and self.tensor is not None:
            self.known = _array(self.tensor)
            self.tensor = self.tensor if self.known is not None else None
        return self.known

    @property
    def type(self) -> Any:
        """The onnx.TypeProto."""
        if self._type is None:
            self._type = onnx.TypeProto()
            tensor = self._type.tensor_type
            tensor.elem_type = self.element_type
            if self.shape is not None:
                tensor.shape.SetInParent()
                for size in self.shape:
                    tensor.shape.dim.add().dim_value = size
        return self._type

    @property
    def number(self) -> float | None:
        """The value of a known constant of one element."""
        if self.size != 1 or self.numbers is None or self.dtype == "bool" or self.dtype.startswith("complex"):
            return None
        value = float(self.numbers.reshape(-1)[0])
        return value if math.isfinite(value) else None

    @property
    def stored(self) -> StoredTensor | None:
        """The stored tensor that a constant is, in whatever layout; None for what is computed of several."""
        own = [source for source in self.sources if source.role is None]
        if self.edge is not None or len(own) != 1 or not own[0].is_moved:
            return None
        return own[0].stored if math.prod(own[0].stored.shape) == self.size else None

    @property
    def tensor_proto(self) -> Any:
        """Its numbers as an onnx.TensorProto; None where they are many or unknown."""
        if self.tensor is None and self.known is not None:
            self.tensor = onnx.numpy_helper.from_array(numpy.ascontiguousarray(self.known).reshape(self.known.shape))
        return self.tensor


def _array(tensor: Any) -> Any:
    """Return the numbers of a tensor; None where they are many, lie elsewhere, or do not fit its sizes."""
    if math.prod(tensor.dims) > MOST_NUMBERS or any(size < 0 for size in tensor.dims):
        return None
    if tensor.data_type == STRING or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    try:
        return onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError):
        return None


def of_tensor(tensor: Any, stored: StoredTensor | None) -> Value:
    """Return the value that a tensor of the file is."""
    shape = tuple(tensor.dims)
    return Value(tensor.data_type, shape, tensor=tensor, sources=(Source(stored),) if stored is not None else ())


def of_array(array: Any, element_type: int | None = None, sources: tuple[Source, ...] = ()) -> Value:
    """Return a value with known numbers."""
    array = numpy.asarray(array)
    if element_type is None:
        element_type = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return Value(element_type, tuple(array.shape), known=array, sources=sources)


def of_type(type_proto: Any) -> Value:
    """Return a value of an onnx.TypeProto; its shape is None unless every size is known."""
    tensor = type_proto.tensor_type
    if not type_proto.HasField("tensor_type") or not tensor.HasField("shape"):
        return Value(tensor.elem_type, None)
    sizes = tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None for dim in tensor.shape.dim
    )
    known = tuple(size for size in sizes if size is not None)
    return Value(tensor.elem_type, known if len(known) == len(sizes) else None)
