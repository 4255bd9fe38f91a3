"""Every model of torchvision and timm: does it trace, how long does it take, and do its figures agree with others'.

    python benchmarks/sweep.py run torchvision                       # all of torchvision
    python benchmarks/sweep.py run timm --results timm.jsonl         # a run that can be stopped and taken up again
    python benchmarks/sweep.py run timm --match resnet               # those whose name contains a word
    python benchmarks/sweep.py table torchvision.jsonl timm.jsonl    # the committed table

Parameters are held against sum(p.numel()), MACs against torch's FlopCounterMode (halved) and against the published
figure where there is one. A model ends as one of: agrees; no witness (FlopCounterMode itself fails, with its error);
differs (with the reason, or "not explained"); failed (it was not traced).
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

STATUSES = ("agrees", "no witness", "differs", "failed")
SEGMENTERS = ("deeplabv3", "fcn")


def models(library):
    """Pairs (family, name) of all models of a library: the first of every family, then the second, and so on."""
    if library == "timm":
        import timm
        from timm.models._registry import _model_to_module

        named = [(_model_to_module[name], name) for name in timm.list_models()]
    else:
        from torchvision import models as torchvision_models

        kinds = torchvision_models
        named = [(kinds.get_model_builder(name).__module__.split(".", 2)[2], name) for name in kinds.list_models()]
    place = Counter()
    ranked = []
    for family, name in named:
        ranked.append((place[family], family, name))
        place[family] += 1
    return [(family, name) for _, family, name in sorted(ranked)]


def arguments_of(library, name):
    """Arguments with which a model is the published one."""
    return {"aux_loss": True} if library == "torchvision" and name.startswith(SEGMENTERS) else {}


def published(library, name):
    """The published MACs in units of 10^9, if there are any."""
    if library != "torchvision":
        return []
    from torchvision.models import get_model_weights

    return [weights.meta["_ops"] for weights in get_model_weights(name) if "_ops" in weights.meta]


# One model, in a worker ----------------------------------------------------------------------------------------------


def checked(library, name):
    """One model as a row: its status, our figures, the witness's, and what was said."""
    import cnnstat

    row = {"library": library, "name": name}
    started = time.perf_counter()
    try:
        graph = cnnstat.load(f"{library}:{name}", arguments=arguments_of(library, name))
        analysis = cnnstat.analyze(graph)
    except Exception as error:
        return {**row, "status": "failed", "reason": f"{type(error).__name__}: {error}"}
    row["seconds"] = round(time.perf_counter() - started, 2)
    row |= {"params": analysis.totals.params, "macs": analysis.totals.macs, "ops": len(graph.nodes)}
    row["input"] = ["x".join(map(str, given.shape)) for given in graph.inputs]
    row["not_modelled"] = sorted({layer.op.kind for layer in analysis.layers if not layer.op.modelled})
    row["notes"] = list(graph.about.get("notes_torch", ()))
    reasons = []
    figures = published(library, name)
    if figures and round(analysis.totals.macs / 1e9, 3) not in [round(figure, 3) for figure in figures]:
        reasons.append(f"published {figures[0]}: {because(graph)}")
    try:
        witness = counted(library, name)
    except Exception as error:
        said = f"FlopCounterMode fails: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
        status = "differs" if reasons else "agrees" if figures else "no witness"
        reasons += ["the published figure agrees"] if status == "agrees" else []
        return {**row, "status": status, "reason": "; ".join([*reasons, said])}
    row["witness"] = witness["macs"]
    if witness["params"] != analysis.totals.params:
        reasons.append(f"sum(p.numel()) is {witness['params']:,}: not explained")
    if witness["macs"] != analysis.totals.macs:
        where = differences(graph, analysis, witness)
        reasons.append(f"FlopCounterMode {witness['macs']:,}: {because(graph)}{where}")
    return {**row, "status": "differs" if reasons else "agrees", "reason": "; ".join(reasons)}


def counted(library, name):
    """FlopCounterMode's figures: on meta tensors, or on fake ones where the model mixes devices."""
    try:
        return _counted(library, name, on_meta=True)
    except Exception:
        return _counted(library, name, on_meta=False)


def _counted(library, name, on_meta):
    """MACs in all and by module, and sum(p.numel())."""
    import warnings
    from contextlib import nullcontext

    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    from cnnstat.pytorch.construct import construct
    from cnnstat.pytorch.input_sizes import default_inputs
    from cnnstat.sources.python_code import locate

    located = locate(f"{library}:{name}")
    arguments = {**dict(located.fixed), **arguments_of(library, name)}
    # Fused paths for inference are ops that FlopCounterMode does not know.
    torch.backends.mha.set_fastpath_enabled(False)
    with warnings.catch_warnings(), torch.backends.mkldnn.flags(enabled=False):
        warnings.simplefilter("ignore")
        model, _ = construct(located.factory, arguments, name)
        params = sum(parameter.numel() for parameter in model.parameters())
        model.eval()
        inputs = default_inputs(model, library, name)
        device = "meta" if on_meta else None
        with nullcontext() if on_meta else FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            given = [_tensor(value, device) for value in inputs]
            for module in model.modules():
                for table in (module._parameters, module._buffers):
                    for key, tensor in table.items():
                        if tensor is not None and (tensor.numel() > 1024 or tensor.is_floating_point()):
                            table[key] = torch.empty_strided(
                                tensor.size(), tensor.stride(), dtype=tensor.dtype, device=device
                            )
            counter = FlopCounterMode(display=False)
            with counter:
                model(*given)
    by_module = {path: sum(counts.values()) // 2 for path, counts in counter.get_flop_counts().items()}
    return {"macs": counter.get_total_flops() // 2, "params": params, "modules": by_module}


def _tensor(value, device):
    """Tensors in the place of shapes."""
    import torch

    from cnnstat.sources.request import InputShape

    if isinstance(value, InputShape):
        return torch.empty(value.sizes, device=device)
    return [_tensor(item, device) for item in value]


def differences(graph, analysis, witness):
    """The innermost modules whose MACs differ from the witness's, as a text."""
    ours = Counter()
    for layer in analysis.layers:
        parts = layer.name.split(".")
        for length in range(len(parts) + 1):
            ours[".".join(parts[:length])] += layer.macs
    theirs = {path.partition(".")[2]: macs for path, macs in witness["modules"].items() if "." in path}
    wrong = [path for path, macs in theirs.items() if path and ours[path] != macs]
    inner = [path for path in wrong if not any(other.startswith(f"{path}.") for other in wrong)]
    shown = ", ".join(f"{path} {ours[path]:,} beside {theirs[path]:,}" for path in inner[:2])
    return f" ({shown}{', …' if len(inner) > 2 else ''})" if shown else ""


def because(graph):
    """Why another count may differ: the first that applies."""
    notes = " ".join(graph.about.get("notes_torch", ()))
    if "upper bound" in notes:
        return "how many boxes are kept depends on the image; ours is the upper bound"
    if "for real" in notes:
        return "the path depends on values"
    return "not explained"


def work(library):
    """Read names from standard input, write rows to standard output."""
    import gc

    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        row = checked(library, line.strip())
        print(json.dumps(row), flush=True)
        gc.collect()


# All models ----------------------------------------------------------------------------------------------------------


class Worker:
    """A process that checks one model after another; it is replaced where it dies or takes too long."""

    def __init__(self, library, seconds):
        self._command = [sys.executable, __file__, "work", library]
        self._seconds = seconds
        self._process = None

    def row(self, library, name):
        """The row of one model."""
        if self._process is None:
            self._start()
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        try:
            line = self._lines.get(timeout=self._seconds)
        except queue.Empty:
            line = ""
        if line:
            return json.loads(line)
        died = self._process.poll() is not None
        self.stop()
        said = "the process ended (out of memory?)" if died else f"not done after {self._seconds} s"
        return {"library": library, "name": name, "status": "failed", "reason": said}

    def _start(self):
        """Start the process, and a thread that reads what it writes."""
        pipe = subprocess.PIPE
        errors = subprocess.DEVNULL
        self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=errors, text=True)
        self._lines = queue.Queue()
        threading.Thread(target=self._read, args=(self._process, self._lines), daemon=True).start()

    @staticmethod
    def _read(process, lines):
        """Pass lines on; an empty one says that the process has ended."""
        for line in process.stdout:
            if line.startswith("{"):
                lines.put(line)
        process.wait()
        lines.put("")

    def stop(self):
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def run(options):
    """Check all models that have no row yet; print a line for each."""
    path = Path(options.results or f"{options.library}.jsonl")
    done = {row["name"] for row in rows(path)} if path.exists() else set()
    todo = [pair for pair in models(options.library) if options.match in pair[1] and pair[1] not in done]
    if options.sample:
        todo = todo[: options.sample]
    worker = Worker(options.library, options.seconds)
    try:
        with path.open("a") as out:
            for family, name in todo:
                row = {"family": family, **worker.row(options.library, name)}
                out.write(json.dumps(row) + "\n")
                out.flush()
                figures = f"{row.get('params', 0):>13,} {row.get('macs', 0):>18,} {row.get('seconds', 0):6.2f} s"
                print(f"{row['status']:10} {name:44} {figures} {row['reason']}", flush=True)
    finally:
        worker.stop()


def rows(path):
    """The rows of a file of results."""
    return [json.loads(line) for line in Path(path).read_text().splitlines() if line.strip()]


# The table -----------------------------------------------------------------------------------------------------------


def table(options):
    """Print the summary by family and the list of all that does not simply agree, as Markdown."""
    for path in options.results:
        found = rows(path)
        library = found[0]["library"]
        counts = Counter(row["status"] for row in found)
        print(f"## {library}: {len(found):,} models\n")
        print(", ".join(f"{counts[status]:,} {status}" for status in STATUSES) + ".\n")
        notes = Counter(note.partition(" of ")[0] for row in found for note in row.get("notes", ()))
        for note, number in notes.most_common():
            print(f"- {number:,} with the note: {note}")
        print("" if notes else "None has a note.", end="\n" if notes else "\n\n")
        _families(found)
        _others(found)


def _families(found):
    """Print a line for each family."""
    families = defaultdict(list)
    for row in found:
        families[row["family"]].append(row)
    print("| family | models | " + " | ".join(STATUSES) + " | median seconds | not modelled |")
    print("|---|" + "---|" * (len(STATUSES) + 3))
    for family, members in sorted(families.items()):
        counts = Counter(row["status"] for row in members)
        seconds = sorted(row["seconds"] for row in members if "seconds" in row)
        middle = f"{seconds[len(seconds) // 2]:.2f}" if seconds else ""
        unknown = sorted({kind for row in members for kind in row.get("not_modelled", ())})
        cells = [family, len(members), *(counts[status] or "" for status in STATUSES), middle, ", ".join(unknown)]
        print("| " + " | ".join(map(str, cells)) + " |")
    print()


def _others(found):
    """Print a list of models for each status and reason."""
    for status in STATUSES[1:]:
        reasons = defaultdict(list)
        for row in found:
            if row["status"] == status:
                reasons[row["reason"] if status == "no witness" else _named(row)].append(row["name"])
        if reasons:
            print(f"### {status}\n")
        for reason, names in sorted(reasons.items()):
            print(f"- {', '.join(sorted(names))}: {reason}")
        if reasons:
            print()


def _named(row):
    """A reason with our own figure before it."""
    return f"{row['macs']:,} MACs; {row['reason']}" if "macs" in row else row["reason"]


def main():
    """Run the command that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    asked = commands.add_parser("run", help="check models")
    asked.add_argument("library", choices=("torchvision", "timm"))
    asked.add_argument("--match", default="", help="only names that contain this")
    asked.add_argument("--sample", type=int, default=0, help="only so many, of as many families as possible")
    asked.add_argument("--results", default="", help="file of rows, LIBRARY.jsonl if left out; its models are skipped")
    asked.add_argument("--seconds", type=float, default=240, help="most time for one model")
    asked = commands.add_parser("work", help="what `run` starts")
    asked.add_argument("library")
    asked = commands.add_parser("table", help="print results as Markdown")
    asked.add_argument("results", nargs="+")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    {"run": run, "work": lambda given: work(given.library), "table": table}[options.command](options)


if __name__ == "__main__":
    main()
