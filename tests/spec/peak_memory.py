"""The most memory that this process has used."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


def peak_mebibytes() -> float:
    """Return the peak of this program alone; on Linux getrusage would count the parent's from before the exec too."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
