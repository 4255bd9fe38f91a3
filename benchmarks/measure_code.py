"""How big the code is: lines, files, comments, files that a run enters. Prints the table of docs/architecture.md.

    python benchmarks/measure_code.py

A file is entered by a run if one of its functions or class bodies runs in the process.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMENT = re.compile(r"(^|\s)# (?!noqa|type:|fmt:|-)")
"""A comment that says something to a reader; rules between sections and words for tools are none."""

LATER = ("draw", "exported", "sweep")
"""Rooms that came with features after the rebuild."""

COMMANDS = (
    ["analyze", "vgg16"],
    ["check", "vgg16", "--max-params", "1M"],
    ["analyze", "torchvision:resnet50"],
    ["profile", "lenet5", "--device", "cpu", "--samples", "2"],
)
COUNTER = """
import sys
entered = set()
def note(frame, event, argument):
    file = frame.f_code.co_filename
    if event == "call" and frame.f_code.co_name != "<module>" and "/cnnstat/" in file:
        entered.add(file)
sys.setprofile(note)
from cnnstat import cli
try:
    cli.main()
except SystemExit:
    pass
sys.setprofile(None)
print(len(entered), file=sys.stderr)
"""


def entered(arguments: list[str]) -> str:
    """Return how many files of the package a command enters; a dash where it cannot run here."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['cnnstat', *{arguments!r}]\n{COUNTER}"
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)
    return ran.stderr.split()[-1] if ran.stderr.split()[-1:] and ran.stderr.split()[-1].isdigit() else "–"


def main() -> None:
    """Print the table."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "cnnstat").rglob("*.py"))}
    lines = [line for text in texts.values() for line in text.splitlines()]
    comments = sum(bool(COMMENT.search(line)) for line in lines)
    # Ops and traces state the work of layers; everything else takes it from the figures.
    beside = {"ops", "pytorch", "sources"}
    flops = [p for p, t in texts.items() if re.search(r"\bflops\b", t) and p.relative_to(ROOT).parts[1] not in beside]
    print("| what | now |")
    print("|---|--:|")
    rebuilt = [text for path, text in texts.items() if path.relative_to(ROOT).parts[1] not in LATER]
    print(f"| files of the package | {len(texts)} |")
    print(f"| files in the rooms of the rebuild | {len(rebuilt)} |")
    print(f"| lines | {len(lines):,} |")
    print(f"| lines in the rooms of the rebuild | {sum(text.count(chr(10)) for text in rebuilt):,} |")
    print(f"| lines with a comment that says why, a unit or a source | {100 * comments / len(lines):.1f} % |")
    print(f"| files that name `flops` outside ops, pytorch, sources | {len(flops)} |")
    for arguments in COMMANDS:
        print(f"| files that `cnnstat {' '.join(arguments)}` enters | {entered(arguments)} |")


if __name__ == "__main__":
    main()
