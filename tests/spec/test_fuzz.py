"""Whatever is in a spec, it becomes a graph or a CnnstatError, soon, and the error is readable."""

from __future__ import annotations

import json
import random
import re
import time
from pathlib import Path

import pytest
from computing_time import loops_since
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cnnstat import ops
from cnnstat.analysis.analysis import analyze_graph
from cnnstat.analysis.shapes import infer_shapes
from cnnstat.errors import CnnstatError, SpecError
from cnnstat.ir.graph import Graph
from cnnstat.sources import zoo
from cnnstat.sources.request import Request, parse_arguments, parse_input, parse_variables
from cnnstat.spec.expression_syntax import MAX_LENGTH, MAX_MAGNITUDE, ExpressionError, parse_expression
from cnnstat.spec.expressions import FUNCTIONS
from cnnstat.spec.scope import Scope
from cnnstat.spec.spec_graph import parse_spec, read_spec

fuzzing = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module", autouse=True)
def imported_ops() -> None:
    """Import every op beforehand, so that no example pays for it."""
    for name in ops.names():
        ops.lookup(name)


def check(text: str) -> None:
    """Read a spec; fail unless it becomes a graph or a readable error in good time."""
    start, layers = time.process_time(), 0
    try:
        graph = parse_spec(text, file="net.yaml", find=zoo.find)
        assert isinstance(graph, Graph)
        layers = len(graph.nodes)
        infer_shapes(graph)
    except SpecError as error:
        assert error.problems
        for line in str(error).split("\n"):
            assert re.match(r".+:[0-9]+:[0-9]+: \S", line), line
            assert "\x1b" not in line and len(line) < 2000
            line.encode()
    # A changed number may ask for 80,000 layers, which is legal and takes its time.
    assert loops_since(start) < 100 + layers / 200


ATOMS = st.sampled_from(
    """input: inputs: layers: blocks: let: extends: name: title: dtype: output: outputs: published: notes:
    repeat: as: add: concat: multiply: from: share: frozen: if: then: else: layer: layers repeat
    Conv2d(8, 3, padding=1) | Conv2d: | ReLU | ReLU: | Flatten | Linear(10) | Add | Concat | BatchNorm2d | MaxPool2d(2)
    | Upsample(scale_factor=2) | Split: | Chunk(3) | stage(8) | stage(n): | stage | Unsqueeze(0) | Softmax | LSTM(4)
    [3, 8, 8] | [] | {} | [ | ] | { | } | ( | ) | , | : | - | ? | ! | & | * | &a | *a | << | # | | > | ' | " | % | @ | `
    0 | 1 | -1 | 2 | 3 | 64 | 1e9 | 1e999 | .5 | 1_0 | 0x1F | 017 | 99999999999999999999 | true | false | null | ~ | yes
    i | n | a | x | width | input | input[0] | input[1] | relu1 | relu1[3] | {i} | n{i} | resnet18 | vgg16 | ./a.yaml
    i + 1 | 2 ** 62 | n // 0 | [1] * 99 | max(n, 3) | a if b else c | not a | a.b | f"x" | 'text' | --- | ... | é | 数
    """.replace("\n", "|").split("|")
).map(str.strip)

SPACES = st.sampled_from([" ", "\n", "\n  ", "\n    ", "\n- ", "\n  - ", "\n    - ", ": ", ", ", "", "\t", "\r\n"])

YAMLISH = st.lists(st.tuples(ATOMS, SPACES), max_size=40).map(lambda pairs: "".join(a + b for a, b in pairs))


@fuzzing
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    check(text)


@settings(fuzzing, max_examples=100)  # few, since each is written to a file
@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError):
        read_spec(path, Request(), zoo.find)


@fuzzing
@given(YAMLISH)
def test_yaml_like_text(text: str) -> None:
    check(text)


@fuzzing
@given(YAMLISH)
def test_yaml_like_layers(text: str) -> None:
    head = "input: [3, 8, 8]\nlet: {n: 2, a: [1, 2]}\nblocks:\n  stage(n, k=3):\n    - Conv2d(n, k)\n"
    check(f"{head}layers:\n  - {text}\n")


@fuzzing
@given(st.lists(st.one_of(ATOMS, st.sampled_from("()[]{},=+-*/%<>! .:'\"0123456789ni")), max_size=12))
def test_call_like_layers(pieces: list[str]) -> None:
    text = "".join(pieces).replace("\n", " ")
    check(f"input: [3, 8, 8]\nlet: {{n: 2, i: 1}}\nlayers:\n  - Conv2d({text})\n  - {text}\n")


OUTPUTS = st.tuples(
    st.sampled_from(["relu1", "parts", "input", "input[0]", "block", "block.inner", "nothing", "", "a b", "\x1b[31m"]),
    st.sampled_from(
        (
            "",
            "[0]",
            "[1]",
            "[2]",
            "[3]",
            "[5]",
            "[-1]",
            "[-0]",
            "[99999999999999999999]",
            "[x]",
            "[]",
            "[0",
            "0]",
            "[0][1]",
        )
    ),
    st.sampled_from(("", "", "", "[ 1 ]", "[1.5]", "[0:1]", "[0, 1]", ".0", "(1)", "[true]")),
).map("".join)
"""References to outputs, that exist or do not."""


@fuzzing
@given(read=OUTPUTS, given_out=st.one_of(OUTPUTS, st.lists(OUTPUTS, max_size=3)))
@example(read="relu1", given_out="relu1[5]")
def test_indices_of_outputs(read: str, given_out: str | list[str]) -> None:
    """Layers and the whole network read outputs by number: all that follows has figures, or one readable error."""
    from cnnstat.draw import draw_analysis
    from cnnstat.export import export_graph

    lines = ["input: [3, 8, 8]", "layers:", "  - ReLU", "  - parts: Chunk(3)"]
    lines += ["  - block: [{inner: ReLU, from: 'parts[0]'}]", f"  - Sigmoid:\n    from: {json.dumps(read)}"]
    key = "output" if isinstance(given_out, str) else "outputs"
    text = "\n".join([*lines, f"{key}: {json.dumps(given_out)}", ""])
    check(text)
    try:
        analysis = analyze_graph(parse_spec(text))
        again = analyze_graph(parse_spec(export_graph(analysis.graph, "yaml")))
        assert again.totals.macs == analysis.totals.macs and len(again.layers) == len(analysis.layers)
        assert analysis.to_json() and str(draw_analysis(analysis))
    except CnnstatError as error:
        assert str(error).strip()


@fuzzing
@given(st.sampled_from(zoo.names()), st.integers(0, 2**32), st.integers(1, 6))
@example("resnet50", 0, 1)
def test_changed_zoo(name: str, seed: int, changes: int) -> None:
    chance = random.Random(seed)
    text = zoo.path(name).read_text(encoding="utf-8")
    for _ in range(changes):
        text = changed(text, chance)
    check(text)


TOKEN = re.compile(r"\w+|[^\w\s]|\s+")


def changed(text: str, chance: random.Random) -> str:
    """Return a text with one token or line deleted, doubled, swapped or replaced."""
    by_lines = chance.random() < 0.3
    parts = text.splitlines(keepends=True) if by_lines else TOKEN.findall(text)
    if not parts:
        return text
    here, there = chance.randrange(len(parts)), chance.randrange(len(parts))
    numbers = ["0", "-1", "1e9", "99999999999", "2.5", "null", "true", "[1, 2]"]
    match chance.randrange(5):
        case 0:
            del parts[here]
        case 1:
            parts.insert(here, parts[here])
        case 2:
            parts[here], parts[there] = parts[there], parts[here]
        case 3:
            parts[here] = parts[there]
        case _:
            parts[here] = chance.choice([*numbers, *"()[]{}:,-#&*!|>'\"%@`?", "\t", "\x00", "é", "  "])
    return "".join(parts)


SIGNS = ["+", "-", "*", "/", "//", "%", "**", "<", "<=", "==", "!=", "and", "or", "in", "not in", "@", "<<", "|", "is"]

EXPRESSIONS = st.recursive(
    st.sampled_from(
        ["0", "1", "2", "7", "-3", "0.5", "1e300", "10 ** 18", "n", "xs", "ys", "true", "null", "'a'", "no"]
    ),
    lambda inner: st.one_of(
        st.tuples(
            inner,
            st.sampled_from(SIGNS),
            inner,
        ).map(lambda p: f"({p[0]}) {p[1]} ({p[2]})"),
        st.tuples(st.sampled_from([*FUNCTIONS, "print"]), inner).map(lambda p: f"{p[0]}({p[1]})"),
        st.lists(inner, max_size=4).map(lambda parts: f"[{', '.join(parts)}]"),
        st.tuples(inner, inner).map(lambda p: f"({p[0]})[{p[1]}]"),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]})[{p[1]}:{p[2]}]"),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]}) if ({p[1]}) else ({p[2]})"),
        inner.map(lambda part: f"not ({part})"),
        inner.map(lambda part: f"-({part})"),
    ),
    max_leaves=12,
)


@fuzzing
@given(EXPRESSIONS)
def test_expressions_have_a_bounded_value_or_an_error(text: str) -> None:
    variables = Scope({"n": 3, "xs": [1, 2, 3], "ys": [[4, 5], [6]]})
    try:
        assert is_sane(variables.evaluate(parse_expression(text)))
    except ExpressionError as error:
        assert 0 <= error.offset <= len(text.encode())


def is_sane(value: object) -> bool:
    """Whether a value is one of those that expressions may have."""
    if isinstance(value, list):
        return len(value) <= MAX_LENGTH and all(map(is_sane, value))
    if isinstance(value, (int, float)):
        return abs(value) <= max(MAX_MAGNITUDE, 1e309) and value == value
    return value is None or isinstance(value, str)


@fuzzing
@given(st.text(max_size=60))
def test_expressions_of_any_text(text: str) -> None:
    try:
        Scope({}).evaluate(parse_expression(text))
    except ExpressionError:
        return


NUMBERS = st.one_of(st.integers(-3, 12), st.sampled_from([2**31, 2**40, 2**62, -(2**40), 10**9]))
VALUES = st.one_of(
    NUMBERS, st.booleans(), st.none(), st.floats(), st.lists(NUMBERS, max_size=4), st.sampled_from(["same", "x", ""])
)


@settings(fuzzing, max_examples=400)
@given(
    st.sampled_from(ops.names()),
    st.lists(VALUES, max_size=4),
    st.lists(st.integers(1, 20), min_size=1, max_size=5),
)
def test_any_op_with_any_arguments(name: str, values: list[object], sizes: list[int]) -> None:
    words = {None: "null", True: "true", False: "false"}
    written = [words[v] if v is None or isinstance(v, bool) else repr(v) for v in values]
    check(f"input: {sizes}\nlayers:\n  - {name}({', '.join(written)})\n")


@fuzzing
@given(st.text(max_size=40), st.text(max_size=40))
def test_requests(shape: str, variable: str) -> None:
    try:
        name, size = parse_input(shape)
        variables = parse_variables([variable])
        parse_spec("input: [3]\nlet: {n: 1}\nlayers: [ReLU]\n", Request(inputs={name: size}, variables=variables))
    except CnnstatError as error:
        str(error).encode(errors="surrogatepass")


@fuzzing
@given(st.one_of(st.text(max_size=40), EXPRESSIONS))
@example("(" * 5000)
@example("-" * 5000 + "1")
@example("9" * 5000)
@example("{[]: 1}")
@example("'\\d'")
@example("1if 1else 2")
def test_any_argument_has_a_value(text: str) -> None:
    assert set(parse_arguments([f"name={text}"])) == {"name"}


def test_giant_numbers_of_a_size_are_refused() -> None:
    with pytest.raises(CnnstatError, match="write sizes as in 3x224x224"):
        parse_input("9" * 5000 + "x3")
    with pytest.raises(CnnstatError, match="no size may exceed 2147483647"):
        parse_input("9" * 30 + "x3")


def test_deep_call_stack_is_no_excuse(tmp_path: Path) -> None:
    """Reading a spec from deep within a program still ends in a graph or a CnnstatError."""
    nested = "".join(f"  b{i}():\n    - b{i + 1}()\n" for i in range(90))
    text = f"input: [3]\nblocks:\n{nested}  b90(): [ReLU]\nlayers: [b0()]\n"

    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
            return
        with pytest.raises(SpecError, match="nested too deeply"):
            parse_spec(text)

    deep(650)
