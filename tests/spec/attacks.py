"""Specs made to exhaust time, memory or the stack, or to slip something past the reader."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HEAD = "input: [3, 32, 32]\n"
ONE = "layers: [ReLU]\n"


def nested_blocks(count: int) -> str:
    blocks = "".join(f"  b{i}():\n    - b{i + 1}()\n" for i in range(count))
    return f"{HEAD}blocks:\n{blocks}  b{count}(): [ReLU]\nlayers: [b0()]\n"


def doubling_blocks(count: int) -> str:
    blocks = "".join(f"  b{i}():\n    - b{i + 1}()\n    - b{i + 1}()\n" for i in range(count))
    return f"{HEAD}blocks:\n{blocks}  b{count}(): [ReLU]\nlayers: [b0()]\n"


def doubling_blocks_with_list(count: int) -> str:
    blocks = "".join(f"  b{i}(x):\n    - b{i + 1}(x)\n    - b{i + 1}(x)\n" for i in range(count))
    return f"{HEAD}let: {{big: '[1] * 9000'}}\nblocks:\n{blocks}  b{count}(x): [ReLU]\nlayers: [b0(big)]\n"


def nested_repeats(count: int, times: int, named: bool = False, body: str = "ReLU") -> str:
    text = "layers:\n"
    for i in range(count):
        pad = "  " * i
        text += f"{pad}- repeat: {times}\n" + (f"{pad}  as: i{i}\n" if named else "") + f"{pad}  layers:\n"
    return HEAD + text + "  " * count + f"- {body}\n"


def scopes_with_long_names(depth: int, times: int) -> str:
    blocks = "".join(f"  b{i}():\n    - {'n' * 90}: b{i + 1}()\n" for i in range(depth))
    body = f"    - repeat: {times}\n      layers: [ReLU]\n"
    return f"{HEAD}blocks:\n{blocks}  b{depth}():\n{body}layers: [b0()]\n"


def many_sources(times: int, count: int) -> str:
    item = f"{{Concat: , from: [{', '.join(['a'] * count)}]}}"
    return f"{HEAD}layers:\n- a: ReLU\n- repeat: {times}\n  layers: [{item}]\n"


def alias_bomb(levels: int, width: int, key: str = "notes") -> str:
    lines = ["a0: &a0 [ReLU]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return HEAD + "\n".join(lines) + f"\n{key}: *a{levels - 1}\n" + ("" if key == "layers" else ONE)


def let_bomb(levels: int, width: int) -> str:
    lines = ["  a0: [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"  a{i}: [{', '.join([f'a{i - 1}'] * width)}]" for i in range(1, levels)]
    return HEAD + "let:\n" + "\n".join(lines) + "\n" + ONE


def in_let(expression: str) -> str:
    return f"{HEAD}let:\n  x: {expression}\n{ONE}"


def in_layer(text: str) -> str:
    return f"{HEAD}layers:\n  - {text}\n"


ATTACKS: dict[str, str | bytes] = {
    "empty": "",
    "only comments": "# nothing\n# at all\n",
    "only document markers": "---\n...\n---\n",
    "tag directives": "".join(f"%TAG !a{i}! x\n" for i in range(100_000)) + "---\n" + HEAD + ONE,
    "several documents": HEAD + ONE + "---\n" + HEAD + ONE,
    "null": "null",
    "a list": "- a\n- b\n",
    "a number": "12",
    "python tag": "!!python/object/apply:os.system ['echo hacked']",
    "python name tag": "input: !!python/name:os.system\n" + ONE,
    "own tag": "input: !input [3, 2, 2]\n" + ONE,
    "binary tag": "input: !!binary aGVsbG8=\n" + ONE,
    "set": "input: !!set {3, 4}\n" + ONE,
    "billion laughs": alias_bomb(10, 10),
    "billion laughs as layers": alias_bomb(10, 10, "layers"),
    "quiet laughs as layers": alias_bomb(16, 2, "layers"),
    "deep laughs as layers": alias_bomb(60, 1, "layers"),
    "alias of itself": "a: &a [*a]\n" + HEAD + ONE,
    "merge of itself": "a: &a {<<: *a}\n" + HEAD + ONE,
    "merge key": "a: &a {bias: false}\n" + HEAD + "layers:\n  - Conv2d: {<<: *a, out_channels: 1, kernel_size: 1}\n",
    "let bomb": let_bomb(10, 10),
    "let bomb of one": let_bomb(2000, 1),
    "let in a circle": HEAD + "let: {a: b + 1, b: a + 1}\n" + ONE,
    "let of itself": HEAD + "let: {a: a + 1}\n" + ONE,
    "let of thousands": HEAD + "let:\n" + "".join(f"  v{i}: {i}\n" for i in range(20_000)) + ONE,
    "let chain of thousands": HEAD
    + "let:\n  v0: 1\n"
    + "".join(f"  v{i}: v{i - 1} + 1\n" for i in range(1, 9_000))
    + ONE,
    "giant repeat": nested_repeats(1, 10**9),
    "giant repeat in names": nested_repeats(1, 10**9, named=True),
    "nested repeats": nested_repeats(9, 1000),
    "nested repeats with names": nested_repeats(9, 1000, named=True),
    "nested repeats of two": nested_repeats(30, 2),
    "nested repeats of two with names": nested_repeats(30, 2, named=True),
    "nested repeats of one layer each with names": nested_repeats(3, 300, named=True),
    "nested repeats of nothing": nested_repeats(9, 1000, body="[]"),
    "nested repeats of nothing with names": nested_repeats(9, 1000, named=True, body="[]"),
    "costly conditions": HEAD
    + "let: {big: '[1] * 9000'}\nlayers:\n- repeat: 100000\n  as: i\n  layers:\n    - ReLU:\n      if: sum(big) > i\n",
    "costly arguments": HEAD
    + "let: {big: '[1] * 9000'}\nblocks: {b(x): }\nlayers:\n- repeat: 100000\n  as: i\n  layers: ['b(big + [i])']\n",
    "costly names": HEAD
    + "let: {big: '[1] * 9000'}\nlayers:\n- repeat: 100000\n  as: i\n  layers:\n    - 'r{sum(big) + i}': ReLU\n",
    "costly lists in lists": HEAD
    + "let: {big: '[[1] * 90] * 90'}\nlayers:\n- repeat: 100000\n  as: i\n  layers:\n  - ReLU:\n    if: big == big\n",
    "repeat of a list of lists": HEAD
    + "let: {big: '[[1] * 90] * 90'}\nlayers:\n- repeat: big\n  as: x\n  layers:\n  - repeat: x\n    layers:\n"
    + "    - repeat: big\n      layers: [ReLU]\n",
    "a fault in every repetition": nested_repeats(1, 100_000, body="Conv2dd(3)"),
    "a fault in every repetition with names": nested_repeats(1, 100_000, named=True, body="Conv2d(i0 // 0, 3)"),
    "a misfit in every repetition": HEAD
    + "layers:\n- repeat: 20000\n  layers:\n    - {Conv2d: [8, 64], from: input}\n",
    "an unknown name in every repetition": nested_repeats(1, 100_000, body="{ReLU: , from: nobody}"),
    "thousands of faults": HEAD + "layers:\n" + "".join(f"  - Conf{i}d(3)\n" for i in range(5_000)),
    "thousands of unknown keys": HEAD + ONE + "".join(f"k{i}: 1\n" for i in range(20_000)),
    "thousands of unknown names": HEAD
    + "layers:\n"
    + "".join(f"  - n{i}: ReLU\n" for i in range(4_000))
    + "".join(f"  - {{ReLU: , from: m{i}}}\n" for i in range(1_000)),
    "nested blocks": nested_blocks(1000),
    "doubling blocks": doubling_blocks(60),
    "doubling blocks with a list": doubling_blocks_with_list(60),
    "block calls itself": HEAD + "blocks:\n  b(): [b()]\nlayers: [b()]\n",
    "blocks call each other": HEAD + "blocks:\n  a(n): [b(n)]\n  b(n): [a(n)]\nlayers: [a(1)]\n",
    "block calls itself with less": HEAD
    + "blocks:\n  b(n):\n    - {b: [n - 1], if: n > 0}\n    - ReLU\nlayers: [b(5)]\n",
    "block through a variable": HEAD + "let: {f: b}\nblocks:\n  b(): [f()]\nlayers: [f()]\n",
    "block as its own default": HEAD + "blocks:\n  b(x=b): [x()]\nlayers: [b()]\n",
    "variable that calls itself": HEAD + "let: {f: 'f(1)'}\nlayers: [f]\n",
    "giant input": "input: [2147483647, 2147483647, 2147483647]\n" + ONE,
    "huge number for a size": f"input: [3, {10**30}, 2]\n" + ONE,
    "many axes": f"input: [{', '.join(['2'] * 5000)}]\n" + ONE,
    "ever more axes": nested_repeats(1, 20_000, body="Unsqueeze(0)"),
    "ever more channels": nested_repeats(1, 1000, body="{concat: [[], []]}"),
    "giant kernel": in_layer("Conv2d(1, 1099511627776, padding=1099511627776)"),
    "giant padding": in_layer("ZeroPad2d(1099511627776)"),
    "giant stride": in_layer("ConvTranspose2d(1, 3, stride=1099511627776)"),
    "giant upsampling": in_layer("Upsample(scale_factor=1000000000)"),
    "giant pool": in_layer("AdaptiveAvgPool2d(1099511627776)"),
    "giant groups": in_layer("Conv2d(1099511627776, 1, groups=1099511627776)"),
    "giant groups of a norm": f"input: [{2**31 - 1}, 3, 3]\nlayers: [GroupNorm(65536)]\n",
    "giant groups of a norm behind a layer": HEAD + f"layers: ['Conv2d({2**40}, 1)', 'GroupNorm({2**39 + 1})']\n",
    "giant table": f"input: [{2**31 - 1}, 9, 9]\nlayers: ['ConnectionTableConv2d(1, 3, [[0]])']\n",
    "millions of pieces": "input: [4000]\nlayers:\n- repeat: 9999\n  layers: [{layer: Split(1), from: input}]\n",
    "millions of sources": many_sources(100, 90_000),
    "long names in deep scopes": scopes_with_long_names(90, 100_000),
    "giant shuffle": in_layer("PixelShuffle(1099511627776)"),
    "giant reshape": in_layer(f"Reshape({', '.join(['1'] * 1500)}, 3072)"),
    "giant integer": in_let("9" * 5000),
    "giant integer in a call": in_layer(f"Conv2d({'9' * 3000}, 1)"),
    "giant exponent": in_let("9 ** 9 ** 9 ** 9"),
    "giant power": in_let("2 ** 1000000000"),
    "giant negative power": in_let("2 ** -1000000000"),
    "giant product": in_let("*".join(["9999999999"] * 300)),
    "giant shift": in_let("1 << 1000000000"),
    "giant float": in_let("1e999"),
    "giant float in a call": in_layer("Dropout(1e999)"),
    "not a number": in_let(".nan"),
    "infinite": in_let(".inf"),
    "infinite by arithmetic": in_let("1e308 * 10"),
    "not a number by arithmetic": in_let("1e308 * 10 - 1e308 * 10"),
    "complex": in_let("(-1) ** 0.5"),
    "imaginary": in_let("1j"),
    "text repeated": in_let("'\"ab\" * 1000000000'"),
    "list repeated": in_let("'[1] * 1000000000'"),
    "list of lists repeated": in_let("'[[1] * 9000] * 9000'"),
    "list doubled by let": HEAD
    + "let:\n  v0: [1]\n"
    + "".join(f"  v{i}: v{i - 1} + v{i - 1}\n" for i in range(1, 60))
    + ONE,
    "bytes": in_let("'b\"abc\"'"),
    "ellipsis": in_let("'[...]'"),
    "f-string": in_let("'f\"{1}\"'"),
    "attribute": in_let("().__class__.__bases__[0].__subclasses__()"),
    "import": in_let("__import__('os').system('echo hacked')"),
    "lambda": in_let("'(lambda: 1)()'"),
    "comprehension": in_let("'[x for x in [1]]'"),
    "walrus": in_let("'(x := 1)'"),
    "star": in_layer("Conv2d(*[1, 2])"),
    "double star": in_layer("Conv2d(**x)"),
    "many brackets": in_let("'" + "[" * 20_000 + "'"),
    "many brackets in pairs": in_let("'" + "[" * 1000 + "]" * 1000 + "'"),
    "many parentheses": in_let("(" * 20_000),
    "many parentheses in pairs": in_let("(" * 1900 + "1" + ")" * 1900),
    "many parentheses within bounds": in_let("(" * 29 + "a b" + ")" * 29),
    "many minus signs": in_let("-" * 3000 + "1"),
    "many minus signs, quoted": in_let("'" + "-" * 20_000 + "1'"),
    "many nots": in_let("not " * 900 + "1"),
    "many ifs": in_let("1 if 1 else " * 300 + "1"),
    "many attributes": in_let("a" + ".a" * 1500),
    "many calls": in_let("a" + "()" * 1500),
    "many subscripts": in_let("a" + "[0]" * 1300),
    "many sums": in_let("1" + "+1" * 1900),
    "YAML brackets": "[" * 100_000,
    "YAML brackets in pairs": "[" * 60_000 + "]" * 60_000,
    "YAML braces": "{" * 100_000,
    "YAML braces with keys": "{a: " * 50_000,
    "YAML dashes": "- " * 100_000,
    "YAML question marks": "? " * 100_000,
    "YAML nesting by indentation": "".join(" " * i + "a:\n" for i in range(1500)),
    "YAML flow without an end": "[" + "a, " * 100_000,
    "call without an end": HEAD + "layers: [f(" + "x, " * 250_000 + "]\n",
    "call without an end in a mapping": HEAD + "layers: {f(" + "x, " * 250_000 + "}\n",
    "million entries": HEAD + "layers: [" + "ReLU, " * 10**6 + "]\n",
    "half a million entries": HEAD + "layers: [" + "ReLU, " * 500_000 + "]\n",
    "half a million numbers": in_let("[" + "1, " * 500_000 + "]"),
    "million lines": HEAD + "layers:\n" + "- ReLU\n" * 10**6,
    "million empty lines": "\n" * 10**6 + HEAD + ONE,
    "one long line": "a" * 10**7,
    "one long quoted line": '"' + "a" * 10**7 + '"',
    "one long line of words": "a " * 5 * 10**6,
    "one long comment": "#" + "a" * 10**7,
    "one long layer": in_layer("a" * 10**6),
    "one long key": "a" * 2000 + ": 1\n" + HEAD + ONE,
    "one long quoted key": '"' + "a" * 900 + '": 1\n' + HEAD + ONE,
    "one long name": HEAD + "name: " + "a" * 10**6 + "\n" + ONE,
    "one long layer name": HEAD + f"layers:\n  - name: {'a' * 10**5}\n    ReLU:\n",
    "one long number": in_let("0." + "1" * 10**5),
    "many spaces": " " * 10**6 + "a",
    "many tabs": "\t" * 10**6 + "a",
    "many quotes": "'" * 10**6,
    "many anchors": "&a " * 10**5,
    "many anchored values": "".join(f"a{i}: &a{i} 1\n" for i in range(50_000)) + HEAD + ONE,
    "many exclamation marks": "!" * 10**6,
    "many percent signs": "%" * 10**6,
    "many colons": ":" * 10**6,
    "key that is a list": "? [a, b]\n: 1\n" + HEAD + ONE,
    "key that is a mapping": "{a: 1}: 2\n" + HEAD + ONE,
    "key that is an alias": "a: &a [1]\n*a : 2\n" + HEAD + ONE,
    "key that is empty": ": 1\n" + HEAD + ONE,
    "keys that repeat": HEAD + HEAD + ONE,
    "tabs": "input:\n\t- 3\n\t- 2\nlayers:\n\t- ReLU\n",
    "NUL": HEAD + "layers: [ReLU\0]\n",
    "NUL in quotes": HEAD + 'name: "a\\0b"\n' + ONE,
    "escape sequence": HEAD + 'name: "\\e[31mred"\n' + ONE,
    "right to left": HEAD + "name: \u202egnp.exe\n" + ONE,
    "right to left in a layer": in_layer("\u202eReLU"),
    "right to left, escaped": HEAD + 'name: "\\u202Egnp.exe"\n' + ONE,
    "half a character": HEAD + 'name: "\\ud800"\n' + ONE,
    "letters that look alike": in_layer("RеLU"),  # a Cyrillic е
    "emoji": HEAD + "layers:\n  - 🙂: ReLU\n",
    "date": HEAD + "let: {x: 2020-01-01}\n" + ONE,
    "time": HEAD + "let: {x: 12:30:45}\n" + ONE,
    "octal": HEAD + "let: {x: 017}\n" + ONE,
    "yes and no": HEAD + "layers:\n  - Conv2d(1, 1, bias=no)\n",
    "yes and no in let": HEAD + "let: {x: yes}\n" + ONE,
    "no colon": "input [3, 2, 2]\nlayers [ReLU]\n",
    "UTF-16": (HEAD + ONE).encode("utf-16"),
    "UTF-16 without a mark": (HEAD + ONE).encode("utf-16-le"),
    "Latin-1": (HEAD + "name: Größe\n" + ONE).encode("latin-1"),
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100,
    "zeros": bytes(10**6),
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00" + bytes(range(256)),
    "inputs without layers": "inputs: {a: [1], b: [1]}\nlayers: []\n",
    "join of inputs unsaid": "inputs: {a: [1], b: [1]}\nlayers:\n  - add: [[], []]\n",
    "from itself": HEAD + "layers:\n  - {name: a, ReLU: , from: a}\n",
    "from in a circle": HEAD + "layers:\n  - {name: a, ReLU: , from: b}\n  - {name: b, ReLU: , from: a}\n",
    "share of itself": HEAD + "layers:\n  - {name: a, Conv2d: [3, 1], share: a}\n",
    "share of nothing": HEAD + "layers:\n  - {name: a, Conv2d: [3, 1], share: input}\n",
    "output of nothing": HEAD + "layers: [ReLU]\noutput: nobody\n",
    "giant output number": HEAD + "layers:\n  - {ReLU: , from: 'input[99999999999]'}\n",
    "second output of one": HEAD + "layers:\n  - {ReLU: , from: 'input[1]'}\n",
    "extends nothing": "extends: ''\n" + HEAD + ONE,
    "extends a list": "extends: [a]\n" + HEAD + ONE,
    "extends with NUL": 'extends: "a\\0b.yaml"\n' + HEAD + ONE,
    "extends a long name": f"extends: {'a' * 5000}.yaml\n" + HEAD + ONE,
    "extends a device": "extends: /dev/zero.yaml\n" + HEAD + ONE,
    "published as text": HEAD + ONE + "published: 12\n",
    "published of lists": HEAD + ONE + "published:\n  - {figure: [1], value: {a: 1}, source: []}\n",
    "blocks as a list": HEAD + ONE + "blocks: [a, b]\n",
    "block with odd parameters": HEAD + ONE + "blocks: {'b(1, *a, **k)': [ReLU]}\n",
    "block that is null": HEAD + "blocks: {b: }\nlayers: [b, b()]\n",
    "layers as a mapping": HEAD + "layers: {Conv2d: [3, 3], ReLU: }\n",
    "layers as a number": HEAD + "layers: 3\n",
    "layers that are null": HEAD + "layers: [null, ~, '']\n",
    "everything null": "name:\ntitle:\ninput:\nlet:\nblocks:\nlayers:\noutput:\ndtype:\npublished:\nextends:\n",
    "everything a list": "name: []\ntitle: []\ninput: []\nlet: []\nblocks: []\nlayers: []\noutput: []\ndtype: []\n",
    "everything a mapping": "name: {}\ntitle: {}\ninput: {}\nlet: {}\nblocks: {}\nlayers: {}\noutput: {}\ndtype: {}\n",
}
"""Specs that are refused."""

ODDITIES: dict[str, str | bytes] = {
    "nested repeats of one": nested_repeats(30, 1, named=True),
    "nested blocks within bounds": nested_blocks(80),
    "giant channels": in_layer("Conv2d(1099511627776, 1)"),
    "giant chunks": in_layer("Chunk(1099511627776)"),
    "many comparisons": in_let("1" + "<1" * 1900),
    "carriage returns": (HEAD + ONE).replace("\n", "\r\n"),
    "only carriage returns": (HEAD + ONE).replace("\n", "\r"),
    "byte order mark": "\ufeff" + HEAD + ONE,
    "names in other scripts": HEAD + "let: {größe: 3, 数: 4, ﬁ: 5}\nlayers:\n  - Faltung: Conv2d(größe * 数 * ﬁ, 3)\n",
    "combining marks": HEAD + "let: {a\u0301: 3}\nlayers:\n  - Conv2d(a\u0301, 1)\n",
    "octal of Python": HEAD + "let: {x: 0o17}\nlayers: ['Conv2d(x, 1)']\n",
    "hexadecimal": HEAD + "let: {x: 0x10}\nlayers: ['Conv2d(x, 1)']\n",
    "underscores": HEAD + "let: {x: 1_0}\nlayers: ['Conv2d(x, 1)']\n",
    "block without a name": HEAD + ONE + "blocks: {(a): [ReLU]}\n",
    "layers as text": HEAD + "layers: ReLU\n",
}
"""Specs that look no better and are fine."""


def outcome(path: Path) -> dict[str, Any]:
    """Read a spec and return what became of it, with the computing time it took, in loops."""
    from computing_time import loops_since

    from cnnstat.analysis.shapes import infer_shapes
    from cnnstat.errors import SpecError
    from cnnstat.sources import zoo
    from cnnstat.sources.request import Request
    from cnnstat.spec.spec_graph import read_spec

    start = time.process_time()
    try:
        infer_shapes(read_spec(path, Request(), zoo.find))
        end, message = "accepted", ""
    except SpecError as error:
        end, message = "refused", str(error)
    except BaseException as error:  # whatever else it is, it is what the tests are after
        end, message = type(error).__name__, str(error)[:500]
    return {"end": end, "message": message, "loops": loops_since(start)}


def main() -> None:
    """Print the outcome of every spec as JSON, and the most memory that was in use."""
    from peak_memory import peak_mebibytes

    from cnnstat import ops

    for name in ops.names():  # so that the first spec does not pay for the imports
        ops.lookup(name)
    outcomes = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.yaml"
        for name, spec in {**ATTACKS, **ODDITIES}.items():
            path.write_bytes(spec if isinstance(spec, bytes) else spec.encode())
            outcomes[name] = outcome(path)
    json.dump({"outcomes": outcomes, "mebibytes": peak_mebibytes()}, sys.stdout)


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1]))  # what all tests share
    main()
