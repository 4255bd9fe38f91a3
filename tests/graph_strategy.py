"""Hypothesis strategies for random layer graphs over every op, with random arguments; PyTorch is not needed."""

import itertools
import math
from dataclasses import MISSING, fields

from hypothesis import strategies as st

from cnnstat.errors import OpError
from cnnstat.ir.graph import Edge, Graph, Input, Node
from cnnstat.ir.op import Family, numel
from cnnstat.ops import lookup, names

ATTEMPTS = 6
MAX_ELEMENTS = 300_000
CHANNELS = (1, 2, 3, 4, 6, 8, 12)
TAKES_INTEGERS = ("Embedding",)
LEARNT_ONLY = (Family.ATTENTION, Family.RECURRENT)
"""What these keep for training is said for inputs and weights that all need gradients."""

CNN_OPS = (
    *(f"{kind}{n}d" for kind in ("Conv", "ConvTranspose", "BatchNorm", "MaxPool", "AvgPool") for n in (1, 2, 3)),
    *(f"{kind}{n}d" for kind in ("AdaptiveAvgPool", "AdaptiveMaxPool", "ZeroPad", "ReflectionPad") for n in (1, 2, 3)),
    *("ReLU", "LeakyReLU", "PReLU", "ELU", "GELU", "SiLU", "Sigmoid", "Tanh", "Hardswish", "Softmax"),
    *("Linear", "Dropout", "Dropout2d", "Flatten", "GlobalAvgPool", "GroupNorm", "LocalResponseNorm"),
    *("Add", "Multiply", "Maximum", "Concat", "Upsample"),
)
"""What convolutional networks are made of. All their outputs but those of Flatten are laid out in order in memory."""

NEEDS_COMPANION = {"MatMul": ("Transpose", {"dim0": -1, "dim1": -2})}
"""Ops of two inputs that seldom fit by chance, and what makes a fitting second input of the first."""


# Arguments -----------------------------------------------------------------------------------------------------------


def divisors(number):
    return [d for d in range(1, number + 1) if number % d == 0]


def permutations(shape):
    return st.permutations(range(len(shape))).map(tuple)


def factors(draw, number):
    """Sizes whose product is `number`; sometimes one of them is −1."""
    sizes = []
    while number > 1 and len(sizes) < 3:
        sizes.append(draw(st.sampled_from(divisors(number))))
        number //= sizes[-1]
    sizes.append(number)
    if draw(st.booleans()):
        sizes[draw(st.integers(0, len(sizes) - 1))] = -1
    return tuple(sizes)


def partition(draw, length):
    """Positive numbers that add up to `length`."""
    cuts = sorted(draw(st.sets(st.integers(1, length - 1), max_size=3))) if length > 1 else []
    return tuple(b - a for a, b in itertools.pairwise([0, *cuts, length]))


def axis(shape):
    return st.integers(-len(shape), len(shape) - 1)


def by_name(draw, name, shape, given):
    """An argument whose sensible values depend on the input's shape; None where they do not."""
    channels = shape[1] if len(shape) > 1 else 1
    if name in ("groups", "num_groups"):
        return draw(st.sampled_from(divisors(channels)))
    if name == "num_heads":
        return draw(st.sampled_from(divisors(shape[-1])))
    if name == "out_channels":
        return draw(st.sampled_from(CHANNELS))
    if name == "num_parameters":
        return draw(st.sampled_from((1, channels)))
    if name in ("dim", "dim0", "dim1", "start_dim", "end_dim"):
        return draw(axis(shape))
    if name == "dims":
        return draw(permutations(shape))
    if name == "normalized_shape":
        return tuple(shape[draw(st.integers(len(shape) > 1, len(shape) - 1)) :])
    if name == "unflattened_size":
        return factors(draw, shape[given["dim"]])
    if name == "shape":
        return factors(draw, math.prod(shape[1:]))
    if name == "sections":
        return partition(draw, shape[given.get("dim", -1)])
    if name == "table":
        rows = st.sets(st.integers(0, channels - 1), min_size=1)
        return tuple(tuple(sorted(draw(rows))) for _ in range(given["out_channels"]))
    if name in ("p", "dropout"):
        return draw(st.sampled_from((0.0, 0.1, 0.5)))
    if name == "eps":
        # Newer releases of PyTorch refuse to train with 0.
        return draw(st.sampled_from((1e-5, 1e-3)))
    if name == "momentum":
        # With None PyTorch reads its step counter, which a tensor on the meta device has not.
        return 0.2
    if name == "scale_factor":
        return draw(st.sampled_from((0.5, 0.7, 1, 1.5, 2, 3.0)))
    return None


def by_kind(schema, length):
    """Values that a JSON Schema allows; lists have `length` entries."""
    if "anyOf" in schema:
        return st.one_of(*(by_kind(part, length) for part in schema["anyOf"]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "array":
        return st.lists(by_kind(schema["items"], length), min_size=length, max_size=length).map(tuple)
    if schema["type"] == "integer":
        low = schema.get("minimum", -2)
        return st.integers(low, low + 4)
    if schema["type"] == "number":
        low, high = schema.get("minimum", -1.0), schema.get("maximum", 3.0)
        return st.sampled_from(
            [v for v in (0.5, 1.0, 1.5, 2.0, low, high, 0.01) if v > schema.get("exclusiveMinimum", -9)]
        )
    return {"boolean": st.booleans(), "null": st.none()}[schema["type"]]


@st.composite
def arguments(draw, kind, shape):
    """Keyword arguments of an op for an input of this shape; they need not fit."""
    given = {}
    # Axes first: sizes of other arguments depend on them.
    for field in sorted(fields(kind), key=lambda f: f.name != "dim"):
        if field.default is not MISSING and draw(st.booleans()):
            continue
        value = by_name(draw, field.name, shape, given)
        if value is None:
            value = draw(by_kind(field.metadata["kind"].schema, max(1, len(shape) - 2)))
        given[field.name] = value
    return given


def rarely(draw):
    """One time in six, and never in the simplest examples."""
    return draw(st.integers(0, 5)) == 5


# Shapes --------------------------------------------------------------------------------------------------------------


@st.composite
def shapes(draw, spatial, shortest=1):
    """Batch × channels × so many spatial sizes."""
    batch = draw(st.integers(1, 3))
    longest = {0: 1, 1: 20, 2: 14, 3: 8}[spatial]
    return (batch, draw(st.sampled_from(CHANNELS)), *(draw(st.integers(shortest, longest)) for _ in range(spatial)))


class Pool:
    """A graph in the making: nodes, and all tensors with shape and dtype."""

    def __init__(self):
        self.inputs, self.nodes, self.tensors = [], [], {}
        self.read_shapes = []

    def add_input(self, shape, dtype="float32"):
        edge = Edge(len(self.inputs))
        self.inputs.append(Input(f"x{edge.value}", shape, dtype))
        self.tensors[edge] = shape, dtype
        return edge

    def add(self, op, reads, shares=None, trainable=True):
        """Append a node, or return None where its op refuses these inputs or makes too much of them."""
        inputs = tuple(self.tensors[edge][0] for edge in reads)
        fewest, most = op.input_count
        try:
            made = op.output(inputs) if fewest <= len(reads) <= (most or len(reads)) else ()
        except OpError:
            return None
        if not made or max(map(numel, made)) > MAX_ELEMENTS:
            return None
        value = len(self.inputs) + len(self.nodes)
        dtypes = op.dtypes(tuple(self.tensors[edge][1] for edge in reads), "float32", len(made))
        for output, (shape, dtype) in enumerate(zip(made, dtypes, strict=True)):
            self.tensors[Edge(value, output)] = shape, dtype
        self.nodes.append(Node(self.name(op), op, tuple(reads), shares, trainable))
        self.read_shapes.append(inputs)
        return Edge(value)

    def name(self, op):
        """Nested names now and then, which stand for blocks."""
        number = len(self.nodes)
        return f"block{number // 3}.{op.kind.lower()}{number}" if number % 2 else f"{op.kind.lower()}{number}"

    def of(self, is_integer=False, like=None):
        """Tensors of a kind of dtype, those most like the shape `like` first."""
        found = [e for e, (_, dtype) in self.tensors.items() if dtype.startswith("float") != is_integer]
        if like is None:
            return found
        return sorted(found, key=lambda e: _distance(self.tensors[e][0], like))

    def equal(self, edge):
        """The tensors of the same shape and dtype as another, that one included."""
        return [other for other, described in self.tensors.items() if described == self.tensors[edge]]

    def graph(self, *outputs):
        return Graph(
            name="random",
            inputs=tuple(self.inputs),
            nodes=tuple(self.nodes),
            outputs=outputs or (Edge(len(self.inputs) + len(self.nodes) - 1),),
        )


def _distance(shape, other):
    """How far two shapes are from fitting each other."""
    if len(shape) != len(other):
        return 100
    return sum(a != b for a, b in zip(shape, other))


@st.composite
def calls(draw, kind, pool, tries=ATTEMPTS, skipped=()):
    """Add one call of an op to a pool, not on `skipped` tensors; None where none of a few random calls fits."""
    sources = [
        e for e in pool.of(is_integer=kind.__name__ in TAKES_INTEGERS) if e not in skipped and pool.tensors[e][0]
    ]
    for _ in range(tries if sources else 0):
        first = draw(st.sampled_from(sources[:-7:-1]))
        shape = pool.tensors[first][0]
        reads = [first]
        fewest, most = kind.input_count
        count = draw(st.integers(fewest, fewest + 2 if most is None else most))
        if kind.__name__ in NEEDS_COMPANION and draw(st.booleans()):
            name, given = NEEDS_COMPANION[kind.__name__]
            second = pool.add(lookup(name)(**given), reads)
            reads += [second] if second else []
        while len(reads) < count:
            # Attention tells by identity, not by shape alone, whether its inputs are one tensor.
            used = reads if kind.family is Family.ATTENTION else ()
            others = [edge for edge in pool.of(like=shape) if edge not in (*skipped, *used)]
            if not others:
                break
            reads.append(others[draw(st.integers(0, 3)) % len(others)])
        try:
            op = kind(**draw(arguments(kind, shape)))
        except OpError:
            continue
        added = pool.add(op, reads, trainable=kind.family in LEARNT_ONLY or draw(st.integers(0, 4)) > 0)
        if added is not None:
            return added
    return None


# Graphs --------------------------------------------------------------------------------------------------------------


@st.composite
def single_calls(draw, name):
    """A graph of one call of an op, behind linear layers that make its inputs need gradients."""
    kind = lookup(name)
    pool = Pool()
    example = draw(st.sampled_from(kind.examples()))
    if not rarely(draw):
        shape = draw(shapes(draw(st.sampled_from([max(0, len(example.inputs[0]) - 2), 2, 1, 0, 3]))))
        if name in TAKES_INTEGERS:
            pool.add_input(shape, "int64")
        else:
            learnt(pool, pool.add_input(shape))
        raw = kind.family not in LEARNT_ONLY and draw(st.booleans())
        added = draw(calls(kind, pool, skipped=() if raw or name in TAKES_INTEGERS else (Edge(0),)))
        if added is not None:
            return pool.graph(*outputs_of(pool, added))
    pool = Pool()
    is_integer = name in TAKES_INTEGERS
    sources = [pool.add_input(shape, "int64" if is_integer else "float32") for shape in example.inputs]
    added = pool.add(example.op, sources if is_integer else [learnt(pool, edge) for edge in sources])
    return pool.graph(*outputs_of(pool, added))


def learnt(pool, edge):
    """The same shape, out of a linear layer; a vector of batch entries stays as it is."""
    shape = pool.tensors[edge][0]
    return edge if len(shape) < 2 else pool.add(lookup("Linear")(shape[-1]), [edge])


def outputs_of(pool, edge):
    """All tensors that a value consists of."""
    return [e for e in pool.tensors if e.value == edge.value]


@st.composite
def graphs(draw, allowed=None, spatial=None, longest=8):
    """A graph of several calls: branches, joins, several inputs, several outputs and shared weights."""
    pool = Pool()
    rank = draw(st.sampled_from((2, 1, 3, 0))) if spatial is None else spatial
    others = tuple(f"{number}d" for number in range(1, 4) if number != rank)
    kinds = [lookup(name) for name in (allowed or names()) if not name.endswith(others)]
    kinds += 3 * [kind for kind in kinds if kind.counted_as_weighted]
    start = draw(shapes(rank, shortest=4))
    pool.add_input(start)
    if rarely(draw):
        pool.add_input(draw(st.sampled_from((start, (*start[:1], 4, *start[2:])))))
    if any(kind.__name__ in TAKES_INTEGERS for kind in kinds) and rarely(draw):
        pool.add_input((start[0], draw(st.integers(1, 6))), "int64")
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=longest // 2, max_size=longest)):
        if not (rarely(draw) and shared(draw, pool)):
            draw(calls(kind, pool, tries=3))
    if not pool.nodes:
        pool.add(lookup("Identity")(), [Edge(0)])
    ends = list(pool.tensors)[len(pool.inputs) :]
    return pool.graph(ends[-1], *draw(st.lists(st.sampled_from(ends), max_size=1)))


def shared(draw, pool):
    """Call a layer again with the weights it has; whether one could be."""
    owners = [i for i, node in enumerate(pool.nodes) if node.shares is None and node.op.weights(pool.read_shapes[i])]
    if not owners:
        return False
    index = draw(st.sampled_from(owners))
    owner = pool.nodes[index]
    reads = [draw(st.sampled_from(equals)) for equals in map(pool.equal, owner.inputs)]
    return pool.add(owner.op, reads, shares=index) is not None
