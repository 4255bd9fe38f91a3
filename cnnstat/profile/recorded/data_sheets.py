"""Data sheets: what GPUs can do on paper, for recordings of machines that are not at hand to be measured."""

from __future__ import annotations

import re
from typing import NamedTuple

from cnnstat.profile.roofline import Roofline


class DataSheet(NamedTuple):
    """What a vendor states: TFLOP/s in float32, and of dense products in half precision; GB/s of memory."""

    float32: float
    half: float
    bandwidth: float


DATA_SHEETS = (
    (r"V100.*PCI", DataSheet(14.0, 112, 900)),
    (r"V100", DataSheet(15.7, 125, 900)),
    (r"\bT4\b", DataSheet(8.1, 65, 320)),
    (r"A100.*80GB", DataSheet(19.5, 312, 2039)),
    (r"A100", DataSheet(19.5, 312, 1555)),
    (r"\bA10\b", DataSheet(31.2, 125, 600)),
    (r"\bL4\b", DataSheet(30.3, 121, 300)),
    (r"\bL40S\b", DataSheet(91.6, 362, 864)),
    (r"H100.*PCI", DataSheet(51, 756, 2000)),
    (r"H100", DataSheet(67, 989, 3350)),
    (r"H200", DataSheet(67, 989, 4800)),
    (r"B200", DataSheet(80, 2250, 8000)),
    (r"RTX 3090\b", DataSheet(35.6, 71, 936)),
    (r"RTX 4090\b", DataSheet(82.6, 165, 1008)),
    (r"MI210", DataSheet(22.6, 181, 1638)),
    (r"MI250X", DataSheet(23.9, 191.5, 1638)),
    (r"MI250", DataSheet(22.6, 181, 1638)),
    (r"MI300X", DataSheet(163.4, 1307, 5300)),
)
"""By a pattern of the GPU's name, the first that fits; of an MI250 one of its two dies, which is a device."""

LAUNCH = 2e-6
"""Seconds of the smallest kernel where a recording has none."""


def data_sheet(name: str, dtype: str, launch: float) -> Roofline | None:
    """Return the roofline of a GPU on paper; None where its data sheet is not known or has no such dtype."""
    sheet = next((sheet for pattern, sheet in DATA_SHEETS if re.search(pattern, name)), None)
    rate = (
        None if sheet is None else {"float32": sheet.float32, "float16": sheet.half, "bfloat16": sheet.half}.get(dtype)
    )
    if sheet is None or rate is None:
        return None
    source = "of the data sheet, not measured; smallest kernel of this recording"
    return Roofline(
        flops_per_second=rate * 1e12,
        bandwidth=sheet.bandwidth * 1e9,
        launch=launch or LAUNCH,
        measured="",
        source=source,
    )
