"""Options: how a model is to be profiled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a model is to be profiled.

    device: "cuda", "cuda:1", "cpu", "mps"; None is CUDA where there is a GPU, else the CPU.
    dtype: of weights and activations; the model's own if None.
    channels_last: memory format of four-dimensional tensors.
    backward: measure the gradient of the outputs' sum too.
    tf32: let float32 products run in TF32.
    isolate: measure every layer alone too, warm and cold.
    energy: ask NVML for the energy of a pass.
    samples: measurements of everything, at least.
    threads: of PyTorch's CPU ops; as PyTorch has it if None.
    trace: file for a Chrome trace with layer names.
    """

    device: str | None = None
    dtype: str | None = None
    channels_last: bool = False
    backward: bool = False
    tf32: bool = False
    isolate: bool = False
    energy: bool = False
    samples: int = 30
    threads: int | None = None
    trace: Path | None = None
