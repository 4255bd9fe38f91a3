"""`cnnstat list`: the networks of the zoo."""

from __future__ import annotations

from cnnstat import console
from cnnstat.commands.options import FormatOption, OutputOption, output_format


def list_zoo(format: FormatOption = None, output: OutputOption = None) -> None:
    """List the networks of the zoo with their titles and totals."""
    from cnnstat import api, report
    from cnnstat.report.subjects.zoo import document
    from cnnstat.sources import zoo

    analyses = [api.analyze(name) for name in zoo.names()]
    with console.open_output(output) as out:
        report.write(document(analyses), output_format(format, output), out)
