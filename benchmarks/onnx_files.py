"""ONNX files beside other tools: CPU time, memory above the import, and multiply-accumulates, each in its own process.

    python benchmarks/onnx_files.py FOLDER [-o benchmarks/onnx_files.md]

FOLDER holds .onnx files with fixed sizes, as `torch.onnx.export` writes them. onnx-tool and onnxsim take part where
they are installed; their counts are shown as they are. A spec with as many layers, exported from the file, gives the
time that cnnstat needs without ONNX.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

TURNS = 3
"""Runs of each process, of which the fastest counts."""

BEFORE = """import json, os, resource, sys
path = sys.argv[1]


def peak():
    # The largest size of a process that was started counts that of its parent, but for this figure of Linux.
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


"""
AFTER = """
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"macs": macs, "cpu": usage.ru_utime + usage.ru_stime, "peak": peak(), "before": before}))
"""
RSS = "before = peak()\n"
QUIET = "sys.stdout = open(os.devnull, 'w')\n"

PROGRAMS = {
    "import of onnx": f"import onnx\n{RSS}macs = 0",
    "cnnstat": f"import onnx, cnnstat\n{RSS}macs = cnnstat.analyze(path).totals.macs",
    "cnnstat, as a spec": f"import cnnstat\n{RSS}macs = cnnstat.analyze(path + '.yaml').totals.macs",
    "onnxsim": (
        f"import onnx\nfrom onnxsim import model_info\n{RSS}macs = int(model_info.ModelInfo(onnx.load(path)).macs)"
    ),
    "onnx-tool": (
        f"import onnx_tool\n{RSS}{QUIET}model = onnx_tool.Model(path)\nmodel.graph.shape_infer(None)\n"
        "model.graph.profile()\nmacs = int(sum(model.graph.macs)) if hasattr(model.graph.macs, '__len__') else "
        "int(model.graph.macs)\nsys.stdout = sys.__stdout__"
    ),
}
"""What each tool does with a file, from its import on."""


def measured(name: str, path: Path) -> dict[str, Any]:
    """Return the fastest of several runs of a program, or its error in one line."""
    best: dict[str, Any] = {}
    for _ in range(TURNS):
        code = BEFORE + PROGRAMS[name] + AFTER
        result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=600)
        if result.returncode:
            lines = result.stderr.strip().splitlines() or ["failed"]
            return {"error": lines[-1][:60]}
        run = json.loads(result.stdout.strip().splitlines()[-1])
        best = run if not best or run["cpu"] < best["cpu"] else best
    return best


def installed() -> list[str]:
    found = []
    for name, package in (("onnxsim", "onnxsim"), ("onnx-tool", "onnx-tool")):
        try:
            version(package)
            found.append(name)
        except PackageNotFoundError:
            pass
    return ["import of onnx", "cnnstat", "cnnstat, as a spec", *found]


def rows(folder: Path, tools: list[str]) -> list[list[str]]:
    import cnnstat

    lines = []
    with tempfile.TemporaryDirectory() as beside:
        for path in sorted(folder.glob("*.onnx")):
            link = Path(beside, path.name)
            link.symlink_to(path.resolve())
            Path(f"{link}.yaml").write_text(cnnstat.export(str(path)), encoding="utf-8")
            layers = len(cnnstat.load(str(path)).nodes)
            runs = {name: measured(name, link) for name in tools}
            lines += [line(path, layers, name, run, runs) for name, run in runs.items()]
    return lines


def line(path: Path, layers: int, name: str, run: dict[str, Any], runs: dict[str, dict[str, Any]]) -> list[str]:
    """Return one row: a tool on a file."""
    head = [path.stem, f"{path.stat().st_size / 1e6:.0f}", str(layers), name]
    if "error" in run:
        return [*head, "–", "–", "–", f"raises: {run['error']}"]
    ours = runs["cnnstat"].get("macs")
    macs = "" if name == "import of onnx" else f"{run['macs']:,}"
    verdict = "" if not macs or run["macs"] == ours else f"{run['macs'] - ours:+,}"
    return [*head, f"{run['cpu']:.2f}", f"{(run['peak'] - run['before']) / 1024:.0f}", macs, verdict]


HEAD = ("file", "MB", "layers", "tool", "CPU s", "MiB above import", "MACs", "difference")


def table(lines: list[list[str]]) -> str:
    written = [f"| {' | '.join(HEAD)} |", "|---|--:|--:|---|--:|--:|--:|--:|"]
    return "\n".join([*written, *(f"| {' | '.join(each)} |" for each in lines)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    tools = installed()
    text = table(rows(options.folder, tools))
    if options.output is None:
        print(text)
        return
    names = ", ".join(f"{name} {version(name)}" for name in tools if name in ("onnxsim", "onnx-tool"))
    head = (
        "# ONNX files\n\nMeasured by `python benchmarks/onnx_files.py FOLDER` on files that torch.onnx.export wrote of "
        f"freshly initialized models; onnx {version('onnx')}{', ' + names if names else ''}. CPU time is that of the "
        "whole process, its imports included.\n\n"
    )
    options.output.write_text(head + text, encoding="utf-8")


if __name__ == "__main__":
    main()
