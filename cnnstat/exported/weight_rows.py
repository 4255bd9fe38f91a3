"""Loading a file of weights: one row for each tensor, and no graph."""

from __future__ import annotations

from pathlib import Path

from cnnstat.errors import RequestError, SourceError
from cnnstat.exported.layer_names import Label, LayerNames
from cnnstat.exported.stored_tensors import main_dtype
from cnnstat.exported.weight_files import StoredShape, read_checkpoint, read_header
from cnnstat.ir.graph import Graph, Node
from cnnstat.ir.op import Family, numel, shape_text
from cnnstat.ops.traced import Recorded
from cnnstat.sources.request import Request

NO_GRAPH = "the file holds weights and no graph: only its tensors are told, no layers, no work and no activations"

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def load_weights(source: str, request: Request) -> Graph:
    """Return the tensors of a file as a graph without edges; raises SourceError where it holds none."""
    if request.inputs or request.batch is not None or request.dtype is not None:
        raise RequestError(f"{source[:100]}: a file of weights has no input; --input, --batch and --dtype mean nothing")
    path = Path(source)
    try:
        is_safe = path.suffix.lower() == ".safetensors"
        tensors = list(read_header(path) if is_safe else read_checkpoint(path))
    except FileNotFoundError:
        raise SourceError(f"{source[:200]}: there is no such file") from None
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise SourceError(f"{source[:200]}: the file of weights cannot be read: {reason}") from None
    if not tensors:
        raise SourceError(f"{source[:200]}: the file holds no tensors")
    dtype = main_dtype((each.dtype, 1) for each in tensors) or "float32"
    names = LayerNames([Label("", "", exact=each.name) for each in tensors]).all()
    return Graph(
        name=path.stem,
        inputs=(),
        nodes=tuple(_row(name, each, dtype) for name, each in zip(names, tensors)),
        outputs=(),
        dtype=dtype,
        source=source,
        about={"notes_torch": (NO_GRAPH,)},
    )


def _row(name: str, tensor: StoredShape, dtype: str) -> Node:
    """Return the row of one tensor."""
    own = name.rpartition(".")[2]
    is_buffer = own in _BUFFERS or not tensor.dtype.startswith(("float", "bfloat", "complex"))
    listed = ((own, tensor.shape),)
    op = Recorded(
        function=f"{shape_text(tensor.shape) if numel(tensor.shape) != 1 else '1'} {tensor.dtype}",
        outputs=((0,),),
        result_dtypes=(tensor.dtype,),
        family=Family.OTHER,
        tensors=() if is_buffer else listed,
        stored=listed if is_buffer else (),
    )
    dtypes = {} if tensor.dtype == dtype else {own: tensor.dtype}
    return Node(name, op, (), dtypes=dtypes)
