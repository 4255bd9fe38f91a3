"""Hypothesis strategies for random layer graphs over every op, with random arguments; PyTorch is not needed."""

from argument_strategy import CHANNELS, arguments
from hypothesis import strategies as st

from cnnstat.errors import OpError
from cnnstat.ir.graph import Edge, Graph, Input, Node
from cnnstat.ir.op import Family, numel
from cnnstat.ops import lookup, names

ATTEMPTS = 6
MAX_ELEMENTS = 300_000
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
