"""`cnnstat check`: sizes against limits."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cnnstat import console
from cnnstat.choices import CheckFormat, Mode, Optimizer
from cnnstat.commands.options import (
    FLAG,
    MODE,
    OPTIMIZER,
    DeviceOption,
    ModelOptions,
    ThreadsOption,
    zoo_names,
)


@dataclass(frozen=True, kw_only=True)
class CheckOptions(ModelOptions):
    """The options of a model, two of which the configuration decides where they are not given."""

    mode: Annotated[Mode | None, MODE] = None  # type: ignore[assignment]  # the same option, without a default
    optimizer: Annotated[Optimizer | None, OPTIMIZER] = None


def limit_option(flag: str, said: str) -> Any:
    """Return an option that sets a limit."""
    return typer.Option(flag, help=said, metavar="AMOUNT", rich_help_panel="Limits")


def check(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE", help="Networks; without any, all that are configured.", autocompletion=zoo_names
        ),
    ] = None,
    max_params: Annotated[str | None, limit_option("--max-params", "Parameters, as in 5M.")] = None,
    max_macs: Annotated[str | None, limit_option("--max-macs", "Multiply-accumulates, as in 600M.")] = None,
    max_flops: Annotated[str | None, limit_option("--max-flops", "Floating-point operations, as in 1.2G.")] = None,
    max_peak_memory: Annotated[
        str | None, limit_option("--max-peak-memory", "Activations alive at once in inference, as in 16MiB.")
    ] = None,
    max_training_memory: Annotated[
        str | None, limit_option("--max-training-memory", "Parameters, gradients, optimizer and saved tensors.")
    ] = None,
    max_activation_memory: Annotated[
        str | None, limit_option("--max-activation-memory", "All layers' outputs together.")
    ] = None,
    max_file_size: Annotated[
        str | None, limit_option("--max-file-size", "Parameters and buffers of a state_dict file, as in 20MB.")
    ] = None,
    min_receptive_field: Annotated[
        str | None, limit_option("--min-receptive-field", "Smaller side of the receptive field, as in 200.")
    ] = None,
    max_latency: Annotated[
        str | None, limit_option("--max-latency", "Time of a forward pass, as in 5ms; a warning unless told otherwise.")
    ] = None,
    fail_on_latency: Annotated[
        bool,
        typer.Option(
            "--fail-on-latency", help="Let times decide the exit code too.", metavar=FLAG, rich_help_panel="Limits"
        ),
    ] = False,
    max_increase: Annotated[
        list[str] | None,
        typer.Option(
            help="Growth against the baseline, as in params=2%.", metavar="METRIC=AMOUNT", rich_help_panel="Limits"
        ),
    ] = None,
    *,
    model: CheckOptions,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file.", metavar="FILE")] = None,
    baseline: Annotated[str | None, typer.Option(help="Baseline file to compare with.", metavar="FILE")] = None,
    baseline_ref: Annotated[str | None, typer.Option(help="Git ref to compare with.", metavar="REF")] = None,
    require_baseline: Annotated[
        bool, typer.Option("--require-baseline", help="A growth limit without a baseline is exit code 3.", metavar=FLAG)
    ] = False,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Write the baseline file and print what changed.", metavar=FLAG)
    ] = False,
    fail_on_baseline_growth: Annotated[
        bool,
        typer.Option(
            "--fail-on-baseline-growth", help="Fail if this change raises the baseline file itself.", metavar=FLAG
        ),
    ] = False,
    format: Annotated[
        CheckFormat,
        typer.Option(
            "--format", "-f", help="table, json, markdown, summary, github, gitlab, junit or sarif.", metavar="FORMAT"
        ),
    ] = "table",
    output: Annotated[
        list[str] | None, typer.Option("--output", "-o", help="Write a file too.", metavar="FORMAT:PATH")
    ] = None,
    exit_zero: Annotated[
        bool, typer.Option("--exit-zero", help="Report broken limits, but exit with 0.", metavar=FLAG)
    ] = False,
) -> None:
    """Check sizes against limits, absolute or relative to a baseline; exit code 1 if one is broken, 3 if unverified."""
    from cnnstat.check import formats, run

    if device is not None or threads is not None:
        from cnnstat.profile.options import make_options

        make_options(device=device, threads=threads)
    flags = {
        "params": max_params,
        "macs": max_macs,
        "flops": max_flops,
        "peak_inference_bytes": max_peak_memory,
        "training_bytes": max_training_memory,
        "activation_bytes": max_activation_memory,
        "file_size": max_file_size,
        "receptive_field": min_receptive_field,
        "latency": max_latency,
    }
    options = run.Options(
        sources=tuple(sources or ()),
        limits=run.flag_limits(flags, max_increase or ()),
        request=model.request(),
        mode=model.mode,
        optimizer=model.optimizer,
        config=config,
        baseline=baseline,
        baseline_ref=baseline_ref,
        require_baseline=require_baseline,
        fail_on_baseline_growth=fail_on_baseline_growth,
        device=device,
        threads=threads,
        fail_on_latency=fail_on_latency,
    )
    if update_baseline:
        print(*run.update_baseline(options), sep="\n")
        return
    outputs = formats.parse_outputs(output or ())
    result = run.check(options)
    formats.write_outputs(result, outputs, format)
    if format == "table":
        with console.open_output(None) as out:
            formats.print_result(result, format, out)
    else:  # no other format needs rich, which takes longer to import than twenty specs to check
        sys.stdout.write(formats.render(result, format))
    raise typer.Exit(0 if exit_zero else result.exit_code)
