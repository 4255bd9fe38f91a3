"""Tables of measured accuracies as people write them, joined to the points of a sweep."""

from __future__ import annotations

import pytest

from cnnstat.errors import CnnstatError
from cnnstat.sweep.accuracies import Accuracies

RESNETS = {"resnet18": 69.76, "resnet34": 73.31}


def read(tmp_path, content, settings=()):
    path = tmp_path / "results.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Accuracies.read(path, settings)


def joined(table, source, **settings):
    return table.joined({"source": source, "settings": {k: str(v) for k, v in settings.items()}})["accuracy"]


@pytest.mark.parametrize(
    "content",
    [
        "model,top1\nresnet18,69.76\nresnet34,73.31\n",
        "\ufeffmodel;top1\r\nresnet18;69,76\r\nresnet34;73,31 %\r\n",
        "Name\tAcc@1\tAcc@5\nresnet18\t69.76\t89.1\nresnet34\t73.31%\t91.4\n",
        "Architecture,Params,Top-1 accuracy (%),Date\nResNet18,11.7M,69.76,2016\nResNet-34,21.8M,73.31,2016\n",
        "# measured by me\nsep=;\nbackbone;accuracy\nResNet_18;69.76\n\nRESNET34;73.31\nvgg16;\nvgg19;n/a\nvgg11;-\n",
        "params,network,miou\n11,resnet18.yaml,69.76\n21,resnet34.yaml,73.31\n".encode("utf-16"),
    ],
)
def test_names_and_numbers_as_people_write_them(tmp_path, content):
    table = read(tmp_path, content)
    for name, accuracy in RESNETS.items():
        assert joined(table, f"models/{name}.yaml") == accuracy
        if not isinstance(content, bytes):  # whose names are those of files
            assert joined(table, name) == joined(table, f"torchvision:{name}") == accuracy
    assert joined(table, "vgg16") is None and joined(table, "resnet50") is None
    assert table.unused == ()


@pytest.mark.parametrize(
    "content",
    [
        "name,accuracy\nwidth=8 depth=1,50\nwidth=16 depth=1,60\n",
        'name,accuracy\n"depth=1, width=8",50\ndepth=1;width=16,60\n',
        "name,accuracy\nnet.yaml depth=1 width=8,50\nnet width=16 depth=1,60\n",
        "width,depth,epochs,accuracy\n8,1,90,50\n16,1,90,60\n",
        "model,depth,width,accuracy\nnet,1,8,50\nnet,1,16,60\n",
    ],
)
def test_settings_tell_variants_apart(tmp_path, content):
    table = read(tmp_path, content, ("width", "depth"))
    found = [joined(table, "a/net.yaml", width=width, depth=depth) for width in (8, 16) for depth in (1, 2)]
    assert found == [50, None, 60, None] and table.unused == ()


def test_what_only_looks_alike_is_told_apart_where_it_differs(tmp_path):
    table = read(tmp_path, "model,top1\nnet_1,50\nnet-1,60\nNet2,70\nnet_2,70\nother,1\n")
    assert [joined(table, name) for name in ("net_1", "net-1", "net1", "net2")] == [50, 60, None, 70]
    assert table.unused == ("other",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("resnet18,69.7\nresnet34,73.3\n", ":1: needs a head line.*69.7 is a number"),
        ("model,top1\nresnet18,high\n", ":2: 'high' is no accuracy"),
        ("# a\n\nmodel,top1\nresnet18,1\nresnet18,2\n", ":5: resnet18 has two accuracies"),
        ("model\nresnet18\n", "needs a head line"),
        (b"model,top1\nr\xe9snet,1\n", "not UTF-8 text"),
    ],
)
def test_faults_name_the_line(tmp_path, content, message):
    with pytest.raises(CnnstatError, match=f"results.csv.*{message}"):
        read(tmp_path, content)
