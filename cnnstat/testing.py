"""Size checks inside a test suite: `assert_budget("models/tiny.yaml", params="5 M")`."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnstat.analysis.analysis import analyze_graph
from cnnstat.api import analyze
from cnnstat.check.baseline import check_conditions, read_baseline
from cnnstat.check.check_result import Status
from cnnstat.check.configuration import ModelSettings
from cnnstat.check.configuration_file import ConfigurationReader
from cnnstat.check.limits import METRICS, read_limits
from cnnstat.check.model_figures import COMPUTED, NO_BASELINE, Baseline, ModelFigures, figures_of
from cnnstat.check.verdicts import Comparison, verdict
from cnnstat.choices import Optimizer
from cnnstat.errors import CnnstatError
from cnnstat.python_options import checked
from cnnstat.sources.load import model_reference

if TYPE_CHECKING:
    from cnnstat.api import Source

Budget = int | str | Mapping[str, Any]
"""An amount (`"5 M"`), or what a configuration writes: `{"max": "5 M", "max_increase": "2%"}`."""


class BudgetWarning(UserWarning):
    """A limit of level `warn` is broken."""


def assert_budget(
    source: Source,
    *,
    baseline: str | os.PathLike[str] | None = None,
    name: str | None = None,
    optimizer: Optimizer = "sgd",
    strict_receptive_field: bool = False,
    **limits_and_options: Any,
) -> None:
    """Raise AssertionError if a limit is broken or cannot be verified, in the words of `cnnstat check`.

    limits: by metric, as in `params="5 M"`. A plain amount is the most that is allowed; for the receptive field it is
        the least.
    options: all those of `cnnstat.analyze`.
    baseline, name: file that `max_increase` counts from, and the model's name there (the source unless given).
    Raises CnnstatError if the model, a limit or the baseline is wrong.
    """
    __tracebackhide__ = True  # pytest shows the line that calls it, and not this function
    options = {key: value for key, value in limits_and_options.items() if key not in COMPUTED}
    limits = {key: limits_and_options[key] for key in COMPUTED if key in limits_and_options}
    budgets = {metric: _table(metric, budget) for metric, budget in limits.items() if budget is not None}
    if not budgets:
        raise CnnstatError('assert_budget needs a limit, as in params="5 M"')
    reader = ConfigurationReader("assert_budget", budgets, {})
    checked = read_limits(reader, ())
    if reader.problems:
        raise CnnstatError("assert_budget: " + "; ".join(problem.message for problem in reader.problems))
    model = model_reference(source, **options)
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
    """Return the signature with a keyword for each metric and each option, for help() and editors that read it."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = inspect.signature(assert_budget).parameters
    options = [
        each.replace(kind=keyword) for name, each in inspect.signature(analyze).parameters.items() if name != "source"
    ]
    limits = [inspect.Parameter(key, keyword, default=None, annotation="Budget | None") for key in COMPUTED]
    return inspect.Signature([own["source"], *limits, *options, own["baseline"], own["name"]], return_annotation=None)


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
