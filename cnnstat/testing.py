"""Size checks inside a test suite: `assert_budget("models/tiny.yaml", params="5 M")`."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnstat.analysis.analysis import analyze_graph
from cnnstat.check.baseline import check_conditions, read_baseline
from cnnstat.check.check_result import Status
from cnnstat.check.configuration import ModelSettings
from cnnstat.check.configuration_file import ConfigurationReader
from cnnstat.check.limits import METRICS, read_limits
from cnnstat.check.model_figures import COMPUTED, NO_BASELINE, Baseline, ModelFigures, figures_of
from cnnstat.check.verdicts import Comparison, verdict
from cnnstat.choices import Mode, Optimizer, Precision
from cnnstat.errors import CnnstatError, did_you_mean
from cnnstat.python_options import checked
from cnnstat.sources.load import model_reference
from cnnstat.sources.request import ModelOptions

if TYPE_CHECKING:
    from cnnstat.api import Source

Budget = int | str | Mapping[str, Any]
"""An amount (`"5 M"`), or what a configuration writes: `{"max": "5 M", "max_increase": "2%"}`."""


class BudgetWarning(UserWarning):
    """A limit of level `warn` is broken."""


def assert_budget(
    source: Source,
    *,
    input: Any = None,
    inputs: Any = None,
    batch: int | None = None,
    dtype: str | None = None,
    variables: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
    mode: Mode = "eval",
    seed: int = 0,
    deploy: Precision | None = None,
    optimizer: Optimizer = "sgd",
    strict_receptive_field: bool = False,
    baseline: str | os.PathLike[str] | None = None,
    name: str | None = None,
    **limits: Budget | None,
) -> None:
    """Raise AssertionError if a limit is broken or cannot be verified, in the words of `cnnstat check`.

    limits: by metric, as in `params="5 M"`. A plain amount is the most that is allowed; for the receptive field it is
        the least.
    baseline, name: file that `max_increase` counts from, and the model's name there (the source unless given).
    Raises CnnstatError if the model, a limit or the baseline is wrong. The other arguments are those of
    `cnnstat.analyze`.
    """
    __tracebackhide__ = True  # pytest shows the line that calls it, and not this function
    for unknown in [key for key in limits if key not in COMPUTED]:
        raise TypeError(
            f"assert_budget() got an unexpected keyword argument {unknown!r}{did_you_mean(unknown, COMPUTED)}"
        )
    budgets = {metric: _table(metric, budget) for metric, budget in limits.items() if budget is not None}
    if not budgets:
        raise CnnstatError('assert_budget needs a limit, as in params="5 M"')
    reader = ConfigurationReader("assert_budget", budgets, {})
    checked = read_limits(reader, ())
    if reader.problems:
        raise CnnstatError("assert_budget: " + "; ".join(problem.message for problem in reader.problems))
    options: ModelOptions = {"inputs": inputs, "batch": batch, "dtype": dtype, "variables": variables}
    options |= {"arguments": arguments, "values": values, "mode": mode, "seed": seed, "deploy": deploy}
    model = model_reference(source, input, **options)
    label = name or Path(model.label).as_posix()
    settings = ModelSettings(source=label, name=label, optimizer=optimizer)
    figures = figures_of(analyze_graph(model.load(), optimizer=optimizer, strict=strict_receptive_field), settings)
    before = _baseline(baseline, label, figures)
    comparison = Comparison(figures=figures, baseline=before.of(label), is_required=baseline is not None)
    verdicts = [verdict(limit, comparison) for limit in checked]
    for warned in (v for v in verdicts if v.status is Status.WARN):
        warnings.warn(f"{label}: {warned.message}", BudgetWarning, stacklevel=3)  # this and `checked`
    broken = [
        v.message for v in verdicts if v.status in (Status.FAIL, Status.UNVERIFIED, Status.SKIPPED) and v.blocking
    ]
    if broken:
        raise AssertionError("\n".join(f"{label}: {message}" for message in broken))


def _signature() -> inspect.Signature:
    """Return the signature with a keyword for each metric, for help() and editors that read it."""
    parameters = dict(inspect.signature(assert_budget).parameters)
    limits = parameters.pop("limits")
    source, *others = parameters.values()
    keyword = limits.replace(kind=inspect.Parameter.KEYWORD_ONLY, default=None)
    return inspect.Signature(
        [source, *(keyword.replace(name=key) for key in COMPUTED), *others], return_annotation=None
    )


assert_budget = checked(assert_budget, _signature())


def _table(metric: str, budget: Budget) -> Mapping[str, Any]:
    return budget if isinstance(budget, Mapping) else {METRICS[metric].bounds[0]: budget}


def _baseline(path: str | os.PathLike[str] | None, name: str, figures: ModelFigures) -> Baseline:
    """Return the baseline in a file, checked for equal conditions."""
    if path is None:
        return NO_BASELINE
    baseline = read_baseline(Path(path), str(path))
    before = baseline.of(name)
    if isinstance(before, ModelFigures):
        check_conditions(name, figures, before, str(path))
    return baseline
