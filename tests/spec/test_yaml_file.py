"""YAML trees: what stands where, and what values mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cnnstat.errors import SpecError
from cnnstat.spec import yaml_file
from cnnstat.spec.tree import Mapping, Scalar, Sequence, Tree
from cnnstat.spec.yaml_file import parse, read_text


def plain(tree: Tree) -> Any:
    """Return a tree as lists, dictionaries and values."""
    if isinstance(tree, Scalar):
        return tree.value
    if isinstance(tree, Sequence):
        return [plain(item) for item in tree.items]
    assert isinstance(tree, Mapping)
    return {key: plain(value) for key, (_, value) in tree.entries.items()}


def scalar(text: str) -> Scalar:
    tree = parse(text, "net.yaml")
    assert isinstance(tree, Scalar)
    return tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("+3", 3),
        ("0", 0),
        ("1_000", 1000),
        ("2.5", 2.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("1e-5", 1e-5),
        ("-1.5E+2", -150.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("'12'", "12"),
        ('"true"', "true"),
        ("yes", "yes"),
        ("no", "no"),
        ("017", "017"),
        ("0x10", "0x10"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1" * 50, "1" * 50),
        ("a b", "a b"),
        ("! text", "text"),
    ],
)
def test_scalar_means(text: str, value: Any) -> None:
    meant = scalar(text).value
    assert meant == value and type(meant) is type(value)


def test_lists_and_mappings() -> None:
    assert plain(parse("a: [1, {b: 2, c: }]\nd:\n  - e\n  -\n", "x")) == {
        "a": [1, {"b": 2, "c": None}],
        "d": ["e", None],
    }


def test_alias_stands_for_its_value() -> None:
    assert plain(parse("a: &x [1, 2]\nb: [*x, *x]\nc: *x\n", "x")) == {"a": [1, 2], "b": [[1, 2], [1, 2]], "c": [1, 2]}


def test_places_count_from_one() -> None:
    tree = parse("first: 1\nsecond:\n  - a\n  - b: c\n", "net.yaml")
    assert isinstance(tree, Mapping)
    key, value = tree.entries["second"]
    assert str(key.location) == "net.yaml:2:1"
    assert isinstance(value, Sequence)
    assert [str(item.location) for item in value.items] == ["net.yaml:3:5", "net.yaml:4:5"]


@pytest.mark.parametrize(
    ("text", "part", "place"),
    [
        ("a + b", "b", "1:5"),
        ("'a + b'", "b", "1:6"),
        ('"a + b"', "b", "1:6"),
        ("größe + b", "b", "1:9"),
        ("数 + b", "b", "1:5"),
        ("' a + b'", "b", "1:7"),
        ("a +\n   b", "b", "2:4"),
        ("a +\n\n   b +\n c", "c", "4:2"),
        ("a + b # remark", "b", "1:5"),
        ("|\n  a + b", "b", "1:1"),
        ("'a +\n  b'", "b", "1:1"),
    ],
)
def test_place_within_a_text(text: str, part: str, place: str) -> None:
    tree = scalar(text)
    offset = len(tree.text.strip().partition(part)[0].encode())
    assert str(tree.place(offset)) == f"net.yaml:{place}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[Conv2d(64, 3), ReLU]", ["Conv2d(64, 3)", "ReLU"]),
        ("[Conv2d(64,3,padding=1)]", ["Conv2d(64, 3, padding=1)"]),
        ("[f(g(1, 2), 3), 4]", ["f(g(1, 2), 3)", 4]),
        ("[f(1,\n  2), 3]", ["f(1, 2)", 3]),
        ("{a: f(1, 2), b: 3}", {"a": "f(1, 2)", "b": 3}),
        ("{f(a, b): 3, g(c): 4}", {"f(a, b)": 3, "g(c)": 4}),
        ("['f(1', 2]", ["f(1", 2]),
        ("[f(1), g(2]", ["f(1)", "g(2"]),
        ("- f(1\n- 2\n", ["f(1", 2]),
    ],
)
def test_calls_in_brackets_stay_whole(text: str, value: Any) -> None:
    assert plain(parse(text, "x")) == value


def test_place_behind_a_comma_in_brackets() -> None:
    tree = parse("a: [b, f(1,   2,\n  third)]", "net.yaml")
    assert isinstance(tree, Mapping)
    listed = tree.get("a")
    assert isinstance(listed, Sequence)
    call = listed.items[1]
    assert isinstance(call, Scalar)
    assert call.text == "f(1, 2, third)"
    assert str(call.place(call.text.index("2"))) == "net.yaml:1:15"
    assert str(call.place(call.text.index("third"))) == "net.yaml:2:3"


def test_unknown_keys_come_with_the_nearest_known_one() -> None:
    tree = parse("lyers: 1\nname: 2\nzzz: 3\n", "net.yaml")
    assert isinstance(tree, Mapping)
    assert [str(problem) for problem in tree.unknown_keys(("layers", "name"))] == [
        "net.yaml:1:1: unknown key lyers; did you mean layers?",
        "net.yaml:3:1: unknown key zzz; known: layers, name",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: the file is empty; a spec has at least input: and layers:"),
        ("a: 1\n---\nb: 2\n", "2:1: a second document begins; a spec is one document"),
        ("a: !!int '3'", "1:4: tags are not allowed (tag:yaml.org,2002:int); write the plain value"),
        ("a: 1\na: 2\n", "2:1: a is written twice, first in line 1; keep one"),
        ("a: *b\n", "1:4: alias *b stands inside or before what it refers to"),
        ("a: &b [*b]\n", "1:8: alias *b stands inside or before what it refers to"),
        ("? [a]\n: 1\n", "1:3: a key must be a word, not a list or mapping; put it into quotes"),
        ("a: &x [1]\n*x : 2\n", "2:1: a key must be a word, not a list or mapping"),
        ("a: {<<: b}\n", "1:5: merge keys (<<) are not known here; write the keys out, or use let: and blocks:"),
        ("a: b\u202ec", "1:5: invisible character U+202E; delete it"),
        ('a:\n  "b\\u202ec"', "2:3: invisible character U+202E; delete it"),
        ("a: 'b", None),
        ("a: [b", None),
        ("a: b: c", None),
        ("a: @b", None),
        ("a: `b", None),
        ("a: %b", None),
        ("a:\n\t- b", None),
        ("a:\n  - b\n - c", None),
        ("- a\nb: c", None),
        ("[a]]", None),
        ("a\nb: c", None),
        ("'a': 'b' 'c'", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("loader", ["fast", "slow"])
def test_not_allowed(text: str, message: str | None, loader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if loader == "slow":
        monkeypatch.setattr(yaml_file, "_LOADER", yaml.SafeLoader)
    with pytest.raises(SpecError) as caught:
        parse(text, "net.yaml")
    (problem,) = caught.value.problems
    if message is not None:
        assert str(problem) == f"net.yaml:{message}"
        return
    assert problem.message.startswith("not valid YAML: ")
    told = [remedy for _, remedy in yaml_file._REMEDIES]
    assert problem.message.removeprefix("not valid YAML: ") in (*told, "a tab; indent with spaces")


def test_without_the_fast_parser_the_trees_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: [f(1,\n 2), {b: 'c'}]\nd: &x\n  - 1.5\n  - *x2\n".replace("*x2", "e +\n    f")
    fast = parse(text, "x")
    monkeypatch.setattr(yaml_file, "_LOADER", yaml.SafeLoader)
    assert parse(text, "x") == fast


def test_read_text_drops_the_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("name: é\n".encode("utf-8-sig"))
    assert read_text(path) == "name: é\n"


def test_read_text_wants_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("name: é\n".encode("latin-1"))
    with pytest.raises(SpecError, match=r"a.yaml: not UTF-8 text \(byte 6\); save it as a UTF-8 text file"):
        read_text(path)
