"""`cnnstat check`: sizes against limits."""

from __future__ import annotations

import sys
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnnstat.analysis.figures import LIMITED_FIGURES, Figure
from cnnstat.choices import CheckFormat, Mode, Optimizer
from cnnstat.commands.completion import zoo_names
from cnnstat.commands.options import (
    MODE,
    OPTIMIZER,
    AnalyzedOptions,
    DeviceOption,
    StrictOption,
    ThreadsOption,
    alternatives,
    flag,
    write,
)


@dataclass(frozen=True, kw_only=True)
class CheckOptions(AnalyzedOptions):
    """The options of a model, two of which the configuration decides where they are not given."""

    mode: Annotated[Mode | None, MODE] = None  # type: ignore[assignment]  # the same option, without a default
    optimizer: Annotated[Optimizer | None, OPTIMIZER] = None
    strict_receptive_field: StrictOption = False


class _Amounts:
    """What the options of limits share, whatever figures there are."""

    def amounts(self) -> dict[str, str | None]:
        """Return the amounts by figure."""
        return {figure.key: getattr(self, _attribute(figure)) for figure in LIMITED_FIGURES}


def _attribute(figure: Figure) -> str:
    return figure.limit.replace("-", "_")


def _limit_option(figure: Figure) -> tuple[str, Any, Any]:
    help = figure.limit_help or figure.sentence
    option = typer.Option(f"--{figure.limit}", help=help, metavar="AMOUNT", rich_help_panel="Limits")
    return _attribute(figure), Annotated[str | None, option], None


if TYPE_CHECKING:
    LimitOptions = _Amounts
else:
    LimitOptions = make_dataclass("LimitOptions", map(_limit_option, LIMITED_FIGURES), bases=(_Amounts,), frozen=True)


def check(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE", help="Networks; without any, all that are configured.", autocompletion=zoo_names
        ),
    ] = None,
    *,
    limits: LimitOptions,
    fail_on_latency: Annotated[
        bool, flag("--fail-on-latency", "Let times decide the exit code too.", rich_help_panel="Limits")
    ] = False,
    max_increase: Annotated[
        list[str] | None,
        typer.Option(
            help="Growth against the baseline, as in params=2%.", metavar="METRIC=AMOUNT", rich_help_panel="Limits"
        ),
    ] = None,
    model: CheckOptions,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file.", metavar="FILE")] = None,
    baseline: Annotated[str | None, typer.Option(help="Baseline file to compare with.", metavar="FILE")] = None,
    baseline_ref: Annotated[str | None, typer.Option(help="Git ref to compare with.", metavar="REF")] = None,
    require_baseline: Annotated[
        bool, flag("--require-baseline", "A growth limit without a baseline is exit code 3.")
    ] = False,
    update_baseline: Annotated[
        bool, flag("--update-baseline", "Write the baseline file and print what changed.")
    ] = False,
    fail_on_baseline_growth: Annotated[
        bool, flag("--fail-on-baseline-growth", "Fail if this change raises the baseline file itself.")
    ] = False,
    format: Annotated[
        CheckFormat,
        typer.Option(
            "--format",
            "-f",
            help=f"{alternatives(CheckFormat)}.",
            metavar="FORMAT",
        ),
    ] = "table",
    output: Annotated[
        list[str] | None, typer.Option("--output", "-o", help="Write a file too.", metavar="FORMAT:PATH")
    ] = None,
    no_code: Annotated[
        bool, flag("--no-code", "Refuse models that run code: take specs and the zoo only. For untrusted changes.")
    ] = False,
    exit_zero: Annotated[bool, flag("--exit-zero", "Report broken limits, but exit with 0.")] = False,
) -> None:
    """Check sizes against limits, absolute or relative to a baseline; exit code 1 if one is broken, 3 if unverified."""
    from cnnstat.check import check_models

    if output or format != "table":
        from cnnstat.check.formats import parse_outputs, render, write_outputs
    if device is not None or threads is not None:
        from cnnstat.profile.profile_options import make_options

        make_options(device=device, threads=threads)
    outputs = parse_outputs(output) if output else ()
    options = check_models.Options(
        outputs=tuple(each.path for each in outputs),
        sources=tuple(sources or ()),
        limits=check_models.flag_limits(limits.amounts(), max_increase or ()),
        request=model.request(uses_cache=True),
        mode=model.mode,
        optimizer=model.optimizer,
        strict_receptive_field=model.strict_receptive_field,
        config=config,
        baseline=baseline,
        baseline_ref=baseline_ref,
        require_baseline=require_baseline,
        fail_on_baseline_growth=fail_on_baseline_growth,
        device=device,
        threads=threads,
        fail_on_latency=fail_on_latency,
        no_code=no_code,
    )
    if update_baseline:
        print(*check_models.update_baseline(options), sep="\n")
        return
    result = check_models.check(options)
    if outputs or format != "table":
        write_outputs(result, outputs, format)
    if format == "table":
        from cnnstat.report.subjects.check import document

        write(document(result), format, None)
    else:  # no other format needs rich, which takes longer to import than twenty specs to check
        sys.stdout.write(render(result, format))
    raise typer.Exit(0 if exit_zero else result.exit_code)
