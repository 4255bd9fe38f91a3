"""The graph of changed layers in a pull-request comment: of Mermaid's grammar whatever layers are called."""

from __future__ import annotations

import re

from cnnstat.check.check_result import LayerChange
from cnnstat.check.formats.changes_graph import MOST_LAYERS, changes_graph

MERMAID = re.compile(
    r"""flowchart\ LR\n(?:\ +(?:
        subgraph\ (?:before|after)\ \[STRING\] | direction\ TB | end
      | [ab](?:\d+|more)\[STRING\] | [ab]\d+\ ~~~\ [ab](?:\d+|more) | before\ -->\ after
      | classDef\ c\d+\ fill:\#\w{6},stroke:\#\w{6},color:\#\w{6} | class\ [ab]\d+(?:,[ab]\d+)*\ c\d+
    )\n)*""".replace("STRING", r'"(?:[\w\ .,:/()+=×·…−–]|\#\d+;|<br/>)*"'),
    re.X,
)

GROWN = LayerChange(
    name="conv1", op="Conv2d", before={"params": 9408, "macs": 100}, after={"params": 18816, "macs": 100}
)
NEW = LayerChange(name="fc", op="Linear", before=None, after={"params": 5000})
GONE = LayerChange(name="relu", op="ReLU", before={"params": 0}, after=None)


def test_a_layer_shows_what_it_had_and_what_it_has() -> None:
    graph = changes_graph([GROWN, NEW, GONE])
    assert MERMAID.fullmatch(graph)
    assert 'b0["conv1<br/>Conv2d<br/>params 9.41 K"]' in graph and 'a0["conv1<br/>Conv2d<br/>params 18.82 K"]' in graph
    assert 'a1["fc<br/>Linear<br/>new<br/>params 5 K"]' in graph and "b1[" not in graph
    assert 'b2["relu<br/>ReLU<br/>removed' in graph and "a2[" not in graph
    assert "before --> after" in graph


def test_names_are_never_syntax() -> None:
    names = ['"]; click a0 "javascript:alert(1)"', "end", "```", "<script>", "@team #1 %%{init: {}}%%", "a\nb"]
    changes = [LayerChange(name=name, op="`x`", before={"params": 1}, after={"params": 2}) for name in names]
    assert MERMAID.fullmatch(changes_graph(changes))


def test_of_very_many_the_rest_is_counted() -> None:
    graph = changes_graph([GROWN] * (MOST_LAYERS + 7))
    assert MERMAID.fullmatch(graph) and "… and 7 more" in graph and f"b{MOST_LAYERS}[" not in graph


def test_a_side_without_layers_is_left_out() -> None:
    assert "before" not in changes_graph([NEW]) and "after" not in changes_graph([GONE])
