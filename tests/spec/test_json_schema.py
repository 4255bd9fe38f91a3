"""The JSON Schema of the spec language: it accepts what loads and marks what an editor can know to be wrong."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import jsonschema
import pytest
import yaml

from cnnstat import ops
from cnnstat.errors import SpecError
from cnnstat.spec.json_schema import schema
from cnnstat.spec.spec_graph import parse_spec

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads(json.dumps(schema(), allow_nan=False))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
SPECS = sorted((ROOT / "specs").glob("*.yaml"))
TEXTS = [
    text
    for file in ("README.md", "docs/spec.md")
    for text in re.findall(r"```yaml\n(.*?)```", (ROOT / file).read_text(encoding="utf-8"), re.DOTALL)
]
IMAGE = "input: [3, 8, 8]\n"


def faults(text: str) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(yaml.safe_load(text))]


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_zoo_fits(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("text", TEXTS)
def test_the_specs_of_the_documentation_fit(text: str) -> None:
    assert faults(text) == []


@pytest.mark.parametrize("name", ops.names())
def test_every_example_of_every_op_fits_in_all_forms(name: str) -> None:
    for example in ops.lookup(name).examples():
        arguments = json.loads(json.dumps({f.name: getattr(example.op, f.name) for f in fields(example.op)}))
        forms = (str(example.op), {name: arguments}, {name: dict.fromkeys(arguments, "width")})
        for form in forms:
            VALIDATOR.validate({"input": [3, 8, 8], "layers": [form]})


FINE = [
    "- Conv2d: [max(4, 8), 3]",
    "- Conv2d: {out_channels: max(4, 8), kernel_size: [3, 3], padding: same}",
    "[Conv2d(64, 3), ReLU]",
    "- {conv: Conv2d(64, 3), if: 1 > 0}",
    "- add: [[], Conv2d(3, 1)]\n  inplace: true",
    "- concat: {a: [Conv2d(3, 1)], b: []}\n  dim: 1",
    "- repeat: [4, 8]\n  as: i\n  layers:\n    - c{i}: Conv2d(i, 1)",
    "- if: 1 > 2\n  then: ReLU\n  else: [Tanh, ReLU]",
    "- Flatten\n- Linear: 10",
    "- layer: ReLU\n  name: x\n  frozen: true",
    "- [ReLU, Tanh]\n- ReLU:",
    "- Act: [ReLU, Tanh]\n- '0': ReLU",
    "- Flatten\n- Reshape: [3, 64]",
]


@pytest.mark.parametrize("layers", FINE)
def test_it_accepts_what_loads(layers: str) -> None:
    text = f"{IMAGE}layers:\n  " + layers.replace("\n", "\n  ")
    parse_spec(text)
    assert faults(text) == []


def test_it_accepts_blocks_called_in_every_form() -> None:
    blocks = "blocks:\n  stage(width, depth=1): Conv2d(width, 1)\n"
    for call in ("stage(4)", "stage: 4", "stage: [4, 2]", "stage: {width: 4}", "s1: stage(4)"):
        text = f"{IMAGE}{blocks}layers:\n  - {call}\n"
        parse_spec(text)
        assert faults(text) == []


WRONG = [
    ("layers: [ReLU]", "not valid under any"),
    ("input: [3]", "layers"),
    ("input: [0]\nlayers: [ReLU]", "$.input"),
    ("input: {shpae: [3]}\nlayers: [ReLU]", "$.input"),
    ("input: [3]\ninputs: {a: [3]}\nlayers: [ReLU]", "should not"),
    ("input: [3]\nlayers: [ReLU]\nlayer: [ReLU]", "'layer'"),
    ("input: [3]\nlayers: [ReLU]\ntitle: [a]", "$.title"),
    ("input: [3]\nlayers: [ReLU]\ndtype: flot16", "$.dtype"),
    ("input: [3]\nlayers: [ReLU]\nlet: [a]", "$.let"),
    ("input: [3]\nlayers: [ReLU]\nlet: {a: {b: 1}}", "$.let.a"),
    ("input: [3]\nlayers: [ReLU]\nblocks: {2d(a): [ReLU]}", "2d(a)"),
    ("input: [3]\nlayers: [ReLU]\nblocks: {ReLU(n): [GELU]}", "should not be valid"),
    ("input: [3]\nlayers: [ReLU]\nlet: {ReLU: 1}", "should not be valid"),
    ("inputs: {}\nlayers: [ReLU]", "$.inputs"),
    ("input: [3]\nlayers: [ReLU]\npublished: [{figure: params, value: '3'}]", "'source'"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_it_marks_what_is_wrong_with_a_document(text: str, said: str) -> None:
    with pytest.raises(SpecError):
        parse_spec(text)
    assert said in " ".join(faults(text))


WRONG_LAYERS = [
    ("Conv2D: {out_channels: 4, kernel_size: 3}", "Conv2D"),
    ("Conv2d: {out_chanels: 4, kernel_size: 3}", "'out_chanels'"),
    ("Conv2d: {out_channels: 4}", "'kernel_size' is a required"),
    ("Conv2d: {out_channels: 4, kernel_size: 3, bias: 3}", "Conv2d.bias"),
    ("Conv2d: [4]", "too short"),
    ("Conv2d: [4, 3, 1, 1, 1, 1, true, zeros, 9]", "too long"),
    ("Conv2d: [four, 0]", "Conv2d[1]"),
    ("Conv2d: 3", "Conv2d"),
    ("Linear:", "Linear"),
    ("ReLU: {inplace: 3}", "ReLU.inplace"),
    ("a: {Conv2d: {out_chanels: 3, kernel_size: 3}}", "$.layers[0].a"),
    ("{repeat: 3, from: input}", "'layers' is a required"),
    ("{layers: [ReLU], reapet: 3}", "'reapet'"),
    ("{layers: [ReLU], as: i}", "'repeat' is a dependency"),
    ("{repeat: 2.5, layers: [ReLU]}", "$.layers[0].repeat"),
    ("{then: ReLU}", "'if' is a required"),
    ("{if: true, then: ReLU, esle: Tanh}", "'esle'"),
    ("add: 3", "$.layers[0].add"),
    ("{add: [[], ReLU], concat: [[], ReLU]}", "'concat'"),
    ("{add: [[], ReLU], dim: 1}", "'dim'"),
    ("{name: x}", "should not be valid"),
    ("{layer: ReLU, from: {a: b}}", "$.layers[0].from"),
    ("64", "64 is not of type"),
    ("two words", "two words"),
]


@pytest.mark.parametrize(("layer", "said"), WRONG_LAYERS)
def test_it_marks_what_is_wrong_with_a_layer(layer: str, said: str) -> None:
    text = f"{IMAGE}layers:\n  - {layer}\n"
    with pytest.raises(SpecError):
        parse_spec(text)
    assert said in " ".join(faults(text))
