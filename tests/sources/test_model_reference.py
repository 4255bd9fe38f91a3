"""Which kind of model a text, a graph or a module is, what each kind takes, and how it is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import cnnstat
from cnnstat.errors import RequestError, SourceError
from cnnstat.sources.load import kinds, load_source, model_reference, named_model
from cnnstat.sources.model import GraphReference, ModuleReference
from cnnstat.sources.pytorch import BuiltModule, PyTorchReference
from cnnstat.sources.request import InputShape, Request
from cnnstat.sources.zoo import SpecReference

NET = "input: [3, 8, 8]\nlayers: [Conv2d(4, 3)]\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("vgg16", SpecReference),
        ("-", SpecReference),
        ("net.yaml", SpecReference),
        ("folder/net.json", SpecReference),
        ("folder/net", SpecReference),
        (r"C:\models\net.yaml", SpecReference),
        ("torchvision:resnet50", PyTorchReference),
        ("timm:resnet50d", PyTorchReference),
        ("package.module:Net", PyTorchReference),
        ("folder/net.py:Net", PyTorchReference),
        ("net.py", PyTorchReference),
        ("folder/net.py", PyTorchReference),
    ],
)
def test_a_text_is_of_one_kind(text: str, kind: type[Any]) -> None:
    assert type(named_model(text, Request())) is kind


def test_a_path_that_exists_is_a_file_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("plain", "with:colon")[: 2 if os.name == "posix" else 1]:
        Path(name).write_text(NET)
        assert load_source(name, Request()).name == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "SOURCE is empty"),
        ("  ", "SOURCE is empty"),
        ("vgg61", "no network of the zoo and no .yaml file; did you mean vgg16?"),
        ("zzzzzz", "`cnnstat list` shows the zoo"),
        ("a\0b", "no network of the zoo"),
        ("nets.py", "name the class, function or model in it, as in nets.py:Net"),
    ],
)
def test_what_is_of_no_kind_is_one_line(text: str, message: str) -> None:
    with pytest.raises(SourceError) as raised:
        load_source(text, Request())
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_each_kind_refuses_what_it_does_not_take() -> None:
    with pytest.raises(RequestError, match="a spec takes --variable"):
        load_source("vgg16", Request(arguments={"classes": 10}))
    with pytest.raises(RequestError, match="given by --argument"):
        load_source("torchvision:resnet18", Request(variables={"classes": 10}))
    for kind in kinds():
        assert all(hasattr(Request(), name) for name in kind.refused)


def test_a_graph_is_taken_as_it_is_but_for_its_dtype() -> None:
    graph = cnnstat.load("lenet5")
    model = model_reference(graph)
    assert isinstance(model, GraphReference) and model.load() is graph and model.label == "lenet5"
    assert not model.can_change_inputs
    half = model.with_dtype("float16").load()
    assert half.dtype == "float16" and half.inputs[0].dtype == "float16" and half.nodes == graph.nodes
    for changes in ({"input": (1, 32, 32)}, {"batch": 2}, {"dtype": "float16"}, {"variables": {"classes": 3}}):
        with pytest.raises(RequestError, match="load it again"):
            model_reference(graph, **changes).load()


def test_a_spec_can_be_loaded_for_other_inputs() -> None:
    model = model_reference("lenet5", batch=2)
    (name,) = [each.name for each in model.load().inputs]
    other = model.with_inputs({name: InputShape((1, 1, 64, 64))}).load()
    assert model.can_change_inputs and other.inputs[0].shape == (1, 1, 64, 64)


def test_anything_else_is_no_model() -> None:
    for source in (None, 3, ["vgg16"], object):
        with pytest.raises(SourceError, match=r"a model is a name, a path, a Graph or a torch\.nn\.Module, not"):
            model_reference(source)


def test_modules_and_named_models_can_run(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    (tmp_path / "sources_net.py").write_text(
        "from torch import nn\ndef net(width=3):\n    return nn.Linear(2, width)\n"
    )
    module = torch.nn.Linear(2, 3)
    built = model_reference(module, (4, 2))
    named = model_reference(f"{tmp_path}/sources_net.py:net", "4x2", arguments={"width": 5})
    assert isinstance(built, BuiltModule) and isinstance(named, PyTorchReference)
    assert built.build(initialized=True) is module and built.label == "Linear"
    assert (built.load().nodes[0].op.out_features, named.load().nodes[0].op.out_features) == (3, 5)
    assert isinstance(named, ModuleReference) and isinstance(named.build(initialized=True), torch.nn.Linear)
    for wrong in ({"variables": {"a": 1}}, {"arguments": {"a": 1}}):
        with pytest.raises(RequestError, match="built already"):
            model_reference(module, (4, 2), **wrong).load()
    assert model_reference(module, (4, 2), batch=2).load().inputs[0].shape == (2, 4, 2)
    with pytest.raises(RequestError, match="--batch goes with sizes"):
        model_reference(module, torch.zeros(4, 2), batch=2).load()
