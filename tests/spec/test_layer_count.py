"""Layer count: what is counted before expanding is what expanding makes, and too much is refused in time."""

from __future__ import annotations

import pytest

from cnnstat.errors import SpecError
from cnnstat.sources import zoo
from cnnstat.spec.item_reader import ItemReader
from cnnstat.spec.spec_document import document_scope, parse_document
from cnnstat.spec.spec_graph import LayerCount, parse_spec
from cnnstat.spec.tree import Problems


def counted(text: str) -> int:
    document = parse_document(text, "net.yaml", zoo.find, Problems())
    return (
        LayerCount(reader := ItemReader(document))
        .items(reader.items(document.layers), document_scope(document, {}))
        .layers
    )


@pytest.mark.parametrize("name", zoo.names())
def test_networks_of_the_zoo(name: str) -> None:
    text = zoo.path(name).read_text(encoding="utf-8")
    layers = len(parse_spec(text, find=zoo.find).nodes)
    assert layers <= counted(text) <= 2 * layers  # a layer with a condition counts even where it does not hold


DEEP = "  deep(n): [{repeat: n, layers: [ReLU]}]\n"


@pytest.mark.parametrize(
    ("blocks", "layers", "count"),
    [
        ("  unit(c): [Conv2d(c, 3), ReLU]\n", "- {repeat: 4, as: i, layers: [unit(i + 1)]}", 8),
        (DEEP, "- {repeat: 4, as: i, layers: [deep(i)]}", 6),
        (DEEP + "  outer(c, n): ['Conv2d(c, 1)', deep(n)]\n", "- {repeat: 3, as: i, layers: ['outer(4, i)']}", 6),
        (DEEP + "  outer(c, n): ['Conv2d(c, 1)', deep(n)]\n", "- {repeat: 3, as: i, layers: ['outer(i + 1, 2)']}", 9),
        ("  d(a, n=a): [{repeat: n, layers: [ReLU]}]\n", "- {repeat: 4, as: i, layers: [d(i)]}", 6),
        ("  d(n=a, a=1): [{repeat: n, layers: [ReLU]}]\n", "- {repeat: 4, as: i, layers: ['d(a=i)']}", 6),
        ("  d(a): [{if: a % 2 == 0, then: [ReLU], else: [ReLU, ReLU]}]\n", "- {repeat: 4, as: i, layers: [d(i)]}", 6),
        ("  d(a): [{if: a > 1, layers: [ReLU]}, ReLU]\n", "- {repeat: 4, as: i, layers: [d(i)]}", 6),
        ("  one: [ReLU]\n  two: [ReLU, ReLU]\n  d(b): [b]\n", "- {repeat: [one, two], as: b, layers: [d(b)]}", 3),
        ("  a(n): [b(n)]\n  b(n): [c(n)]\n  c(n): [d(n)]\n  d(n): [deep(n)]\n" + DEEP,
         "- {repeat: 4, as: i, layers: [a(i)]}", 6),
        ("  d(n): [{add: [[], [{repeat: n, layers: [ReLU]}]]}]\n", "- {repeat: 4, as: i, layers: [d(i)]}", 10),
    ],
)  # fmt: skip
def test_blocks_in_repetitions(blocks: str, layers: str, count: int) -> None:
    text = f"input: [3, 64, 64]\nblocks:\n{blocks}layers:\n  {layers}\n"
    assert counted(text) == len(parse_spec(text).nodes) == count


@pytest.mark.parametrize(
    ("blocks", "layers", "message"),
    [
        (
            "  a(x): [{if: x > 0, then: [b(x)]}]\n  b(y): [a(y)]\n",
            "- {repeat: 3, as: i, layers: [b(i)]}",
            "the block b calls itself; write the repetition with repeat:",
        ),
        (DEEP, "- {repeat: 3, as: i, layers: [deep(60000 * i)]}", "the network grows to more than 120,000 layers here"),
        (
            "  d(x): [{repeat: 2000, layers: [ReLU]}]\n",
            "- {repeat: 90000, as: i, layers: [d(1 // i)]}",
            "the network grows to more than 120,000 layers here",
        ),
    ],
)
def test_too_much_is_refused(blocks: str, layers: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_spec(f"input: [3, 64, 64]\nblocks:\n{blocks}layers:\n  {layers}\n")
