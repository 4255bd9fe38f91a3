"""The protobuf wire format of an ONNX file: the bytes of its model without those of large tensors and of remarks.

A file is walked in place, so that neither weights nor external data are ever read. The numbers of fields are those of
onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from mmap import mmap

from cnnstat.errors import printable

LARGE = 8192
"""Bytes from which the numbers of a tensor are left out: shapes are computed with fewer."""
MAX_FIELDS = 1_500_000
"""Most fields of a model beside its tensors; the largest exported models have a tenth of it."""
MAX_NODES = 150_000
"""Most nodes of a file, those of subgraphs and functions included."""
MAX_BYTES = 64 * 2**20
"""Most bytes of a model beside its tensors."""
MAX_DEPTH = 100
"""Most messages within one another, as in protobuf itself."""

_CHILDREN: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "Graph", 8: "Leaf", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 11: "ValueInfo", 12: "ValueInfo", 15: "SparseTensor"},
    "Function": {7: "Node", 9: "Leaf", 11: "Attribute"},
    "Node": {5: "Attribute", 9: "Leaf"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
    "ValueInfo": {2: "Type"},
    "Type": {1: "TensorType", 4: "ElementType", 8: "TensorType", 9: "ElementType"},
    "TensorType": {2: "Shape"},
    "ElementType": {1: "Type"},
    "Shape": {1: "Leaf"},
    "Leaf": {},
}
"""The messages within a message that are read, by their fields; `Leaf` has none within it."""

_DROPPED: Mapping[str, frozenset[int]] = {
    # Remarks, training, and the shapes that a file states of its tensors, which need not be true.
    "Model": frozenset((6, 14, 20)),
    "Graph": frozenset((10, 13, 14, 16)),
    "Function": frozenset((8, 12, 14)),
    "Node": frozenset((6,)),
    "Attribute": frozenset((13, 14, 15)),
    "Tensor": frozenset((12, 13, 16)),
    "ValueInfo": frozenset((3, 4)),
    "Type": frozenset((5,)),
}

_TEXTS: Mapping[str, frozenset[int]] = {
    "Node": frozenset((1, 2, 3, 4, 7)),
    "Tensor": frozenset((8,)),
    "ValueInfo": frozenset((1,)),
    "Attribute": frozenset((1, 21)),
    "Function": frozenset((1, 4, 5, 6, 10)),
}
"""Names of nodes, tensors, arguments and functions."""

_NUMBERS = frozenset((4, 5, 6, 7, 9, 10, 11))
"""The fields of a tensor that hold its numbers."""

_STACK_TRACE = b"pkg.torch.onnx.stack_trace"
"""Code and paths of the machine that exported a model."""


class WireError(ValueError):
    """The bytes are no model; the message is for the end of a sentence about the file."""


@dataclass(slots=True)
class _Walk:
    data: mmap
    fields: int = 0
    nodes: int = 0
    kept: int = 0
    depth: int = 0
    parts: list[bytes] = field(default_factory=list)

    def integer(self, place: int, end: int) -> tuple[int, int]:
        """Return a number of variable length and the place behind it."""
        value = shift = 0
        data = self.data
        while place < end and shift < 70:
            byte = data[place]
            place += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, place
            shift += 7
        raise WireError(f"is cut off or damaged at byte {place:,}")

    def message(self, place: int, end: int, kind: str) -> bytes:
        """Return the bytes of a message without what is left out."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise WireError(f"nests its parts more than {MAX_DEPTH} deep")
        children, dropped = _CHILDREN[kind], _DROPPED.get(kind, frozenset())
        is_tensor = kind == "Tensor"
        data, kept, run = self.data, [], place
        texts = _TEXTS.get(kind, frozenset())
        while place < end:
            start = place
            self.fields += 1
            if self.fields > MAX_FIELDS:
                raise WireError(f"has more than {MAX_FIELDS:,} fields beside its tensors")
            key = data[place]
            place += 1
            if key > 127:
                key, place = self.integer(start, end)
            number, wire = key >> 3, key & 7
            if wire == 2:
                length, place = self.integer(place, end)
                behind = place + length
                if behind > end:
                    raise WireError(f"is cut off or damaged at byte {start:,}")
                child = children.get(number)
                if number in dropped or (is_tensor and length > LARGE and number in _NUMBERS):
                    kept.append(data[run:start])
                    run = behind
                elif number in texts:
                    self._check_text(data[place:behind])
                elif child is not None:
                    inner = self._child(place, behind, child)
                    if inner is None or len(inner) != length:
                        kept.append(data[run:start])
                        if inner is not None:
                            kept += (_varint(key), _varint(len(inner)), inner)
                        run = behind
                place = behind
            elif wire == 0:
                _, place = self.integer(place, end)
            elif wire in (1, 5):
                place += 8 if wire == 1 else 4
            else:
                raise WireError(f"is no ONNX model, or damaged at byte {start:,}")
            if place > end:
                raise WireError(f"is cut off or damaged at byte {start:,}")
        kept.append(data[run:end])
        self.depth -= 1
        result = b"".join(kept) if len(kept) > 1 else kept[0]
        self.kept += len(result) if kind in ("Node", "Tensor", "ValueInfo") else 0
        if self.kept > MAX_BYTES or len(result) > MAX_BYTES:
            raise WireError(f"has more than {MAX_BYTES >> 20} MiB beside its tensors")
        return result

    def _child(self, place: int, end: int, kind: str) -> bytes | None:
        """Return the bytes of a message within another; None where it is left out as a whole."""
        if kind == "Leaf":
            is_trace = self.data[place + 2 : place + 2 + len(_STACK_TRACE)] == _STACK_TRACE
            return None if is_trace else self.data[place:end]
        if kind == "Node":
            self.nodes += 1
            if self.nodes > MAX_NODES:
                raise WireError(f"has more than {MAX_NODES:,} nodes")
        return self.message(place, end, kind)

    def _check_text(self, content: bytes) -> None:
        """Refuse a name that is no text: protobuf would hand it on as bytes."""
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            shown = printable(content.decode("utf-8", "replace"))[:60]
            raise WireError(f"has the name {shown}, which is not UTF-8") from None


def _varint(value: int) -> bytes:
    """Return a number as the wire format writes it."""
    result = bytearray()
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    result.append(value)
    return bytes(result)


def without_weights(data: mmap, size: int) -> bytes:
    """Return the bytes of an ONNX model without large tensors, remarks and stated shapes; raises WireError."""
    return _Walk(data).message(0, size, "Model")
