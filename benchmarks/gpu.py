"""Everything that wants a GPU, in under ten minutes: the tests marked `cuda`, and the figures that docs/gpu.md gives.

Prints a Markdown report to paste into an issue: the machine, each figure, its goal and what was measured. Keeps it, the
profiles and small recordings in a folder. Exits with 1 where a goal is missed, something fails or a test does; whatever
happens, what was measured until then is in the report. Each profile runs in a process of its own, since every session
of torch.profiler slows a process down for good.
    python benchmarks/gpu.py [--output gpu-report] [--record tests/profile/traces] [--minutes 9] [--no-tests]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from gpu_figures import NCU, Figure, compared, durations, of_case, of_ceilings, of_two_runs, table

ROOT = Path(__file__).resolve().parent.parent
WORK = [sys.executable, str(ROOT / "benchmarks" / "gpu_work.py")]
CASES = {
    "ResNet-50, batch 1": "resnet50 --batch 1 --dtype bfloat16",
    "ResNet-50, batch 256": "resnet50 --batch 256 --dtype bfloat16",
    "ResNet-50, batch 256, channels last": "resnet50 --batch 256 --dtype bfloat16 --channels-last",
    "ResNet-50, batch 64, training": "resnet50 --batch 64 --dtype bfloat16 --backward --mode train",
    "VGG-16, batch 32, TF32, energy": "vgg16 --batch 32 --tf32 --energy",
    "U-Net, batch 4, float32": "unet --batch 4",
    "torchvision MobileNetV2, batch 64": "torchvision:mobilenet_v2 --batch 64 --dtype bfloat16",
    "ResNet-18, batch 16, alone": "resnet18 --batch 16 --dtype bfloat16 --isolate --samples 10",
}
"""Options of `cnnstat profile`, by what the table calls them."""

TWICE = ("ResNet-50, batch 1", "ResNet-50, batch 256")
"""Cases that are measured a second time, to see whether two runs agree."""


class Budget:
    """The time there is."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes

    def left(self) -> float:
        """Seconds of it."""
        return self.end - time.monotonic()


def run(command: Sequence[str], budget: Budget, **keywords: Any) -> subprocess.CompletedProcess[str]:
    """Run a command from the repository's root for as long as there is time."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "KINETO_LOG_LEVEL": "99"}
    timeout = max(1.0, budget.left())
    return subprocess.run(list(command), text=True, cwd=ROOT, env=environment, timeout=timeout, **keywords)


def profile(case: str, folder: Path, budget: Budget) -> dict[str, Any] | str:
    """Return the profile of a case, or why there is none."""
    if budget.left() < 20:
        return "no time left"
    file = folder / f"{'-'.join(''.join(c if c.isalnum() else ' ' for c in case).split())}-{time.monotonic_ns()}.json"
    command = [sys.executable, "-m", "cnnstat", "profile", *CASES[case].split(), "--device", "cuda", "--format", "json"]
    start = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        done = run([*command, "--output", str(file)], budget, capture_output=True)
    except subprocess.TimeoutExpired:
        return "no time left"
    print(f"  {case}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    if done.returncode or not file.exists():
        said = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}").splitlines()[-1]
        return f"failed: {said[:200]}"
    try:
        found: dict[str, Any] = json.loads(file.read_text())
    except ValueError as error:
        return f"failed: its JSON is damaged ({error})"
    return found


def guarded(name: str, figures: Callable[[], Iterable[Figure]]) -> Iterator[Figure]:
    """Yield figures; whatever goes wrong on the way is the last one."""
    try:
        yield from figures()
    except subprocess.TimeoutExpired:
        yield Figure(name, "", "no time left")
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        yield Figure(name, "", f"failed: {said[:200]}", False)


def against_ncu(folder: Path, budget: Budget) -> Iterator[Figure]:
    """Yield how kernels' times compare with Nsight Compute's."""
    name = "kernels of 10 µs or more against ncu: median error"
    if shutil.which("ncu") is None:
        yield Figure(name, f"≤ {NCU:.0%}", "there is no ncu")
        return
    ncu = ["ncu", "--csv", "--profile-from-start", "off", "--clock-control", "none", "--cache-control", "none"]
    ncu += ["--metrics", "gpu__time_duration.sum", "--print-units", "base", *WORK, "plain"]
    try:
        ours = run([*WORK, "kernels", str(folder / "kernels.json")], budget, capture_output=True)
        theirs = run(ncu, budget, capture_output=True)
        if ours.returncode or theirs.returncode:
            said = (ours.stderr if ours.returncode else theirs.stdout + theirs.stderr).strip().splitlines()[-1:]
            yield Figure(name, f"≤ {NCU:.0%}", f"did not run: {' '.join(said)[:200]}")
            return
        yield compared(name, json.loads((folder / "kernels.json").read_text()), durations(theirs.stdout))
    except subprocess.TimeoutExpired:
        yield Figure(name, f"≤ {NCU:.0%}", "no time left")


def tests(budget: Budget) -> Figure:
    """Run the tests marked `cuda`."""
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-q", "-p", "no:cacheprovider", "tests/profile"]
    try:
        done = run(command, budget, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        print(output.decode() if isinstance(output, bytes) else output, file=sys.stderr)
        return Figure("tests marked cuda", "pass", "no time left", False)
    print(done.stdout, file=sys.stderr, flush=True)
    last = (done.stdout.strip().splitlines() or ["said nothing"])[-1]
    return Figure("tests marked cuda", "pass", last, done.returncode == 0)


def recordings(folder: Path, budget: Budget) -> Iterator[Figure]:
    """Record small models, for the tests of those who have no GPU."""
    done = run([*WORK, "record", str(folder.resolve())], budget, capture_output=True)
    said = (done.stdout.strip() or done.stderr.strip() or f"exit {done.returncode}").splitlines()
    text = "; ".join(said[-3:])[:200]
    yield Figure("recordings", "", text, None if done.returncode == 0 else False)


def measure(folder: Path, budget: Budget, profiles: list[dict[str, Any]]) -> Iterator[Figure]:
    """Yield the figures of all cases, and put their profiles into a list."""
    seen: set[str] = set()
    for case in CASES:
        found = profile(case, folder, budget)
        if isinstance(found, str):
            yield Figure(case, "", found, False)
            continue
        profiles.append(found)
        if found["environment"]["dtype"] not in seen:
            seen.add(found["environment"]["dtype"])
            yield from guarded(f"{case}: ceilings", partial(of_ceilings, found))
        yield from guarded(case, partial(of_case, case, found))
        again = profile(case, folder, budget) if case in TWICE else None
        if isinstance(again, dict):
            profiles.append(again)
            yield from guarded(f"{case}: two runs agree", partial(of_two_runs, case, found, again))
        elif again is not None:
            yield Figure(f"{case}: two runs agree", "0.5 µs or 3 %", again)
    yield from guarded("kernels against ncu", partial(against_ncu, folder, budget))


def machine() -> str:
    """Return a line about the machine; raises SystemExit where it has no GPU."""
    try:
        import torch
    except ImportError:
        raise SystemExit("PyTorch is not installed; it needs to be, with CUDA or ROCm") from None
    if not torch.cuda.is_available():
        raise SystemExit("there is no GPU that PyTorch can use here: nothing to measure")
    sys.path.insert(0, str(ROOT))
    from cnnstat.profile.cuda.nvml import Nvml
    from cnnstat.version import __version__

    name = torch.cuda.get_device_name()
    runtime = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
    versions = f"driver {Nvml(None).driver_version() or 'unknown'}, PyTorch {torch.__version__}, {runtime}"
    return f"{date.today()}: {name}, {versions}, cnnstat {__version__}, {platform.platform()}."


def report(options: argparse.Namespace, said: str) -> tuple[str, list[Figure]]:
    """Measure what there is time for, and write the report, which grows figure by figure."""
    budget, figures = Budget(options.minutes), list[Figure]()
    profiles: list[dict[str, Any]] = []
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)

    def everything() -> Iterator[Figure]:
        yield from measure(folder / "profiles", budget, profiles)
        yield from guarded("recordings", partial(recordings, options.record or folder / "recordings", budget))
        if not options.no_tests:
            yield from guarded("tests marked cuda", lambda: [tests(budget)])

    try:
        for figure in guarded("the check itself", everything):
            figures.append(figure)
            (folder / "report.md").write_text(table(figures, said), encoding="utf-8")
    except KeyboardInterrupt:
        figures.append(Figure("stopped", "", "by Ctrl-C", False))
    text = table(figures, said)
    (folder / "report.md").write_text(text, encoding="utf-8")
    (folder / "profiles.json").write_text(json.dumps(profiles), encoding="utf-8")
    return text, figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write small kernel traces there")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", default=Path("gpu-report"), help="keep report, profiles and recordings"
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="begin nothing new after so long")
    parser.add_argument("--no-tests", action="store_true", help="leave the tests out")
    options = parser.parse_args()
    said = machine()
    with tempfile.TemporaryDirectory() as name:
        # Ceilings are measured anew, and remembered for this run only.
        os.environ["CNNSTAT_CACHE"] = name
        try:
            text, figures = report(options, said)
        except OSError as error:
            raise SystemExit(
                f"{options.output}: {error.strerror or error}; name another folder with --output"
            ) from None
    print(text)
    print(f"Kept in {options.output}: report.md, profiles.json, recordings.", file=sys.stderr)
    return 1 if any(figure.kept is False for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
