"""JUnit: a suite for each model and a case for each limit, in the form of Apache Ant that Jenkins and GitLab read.

Valid against the schema of Windy Road, which requires a time and a host: both are constant here, so that the same
models give the same bytes.
"""

from __future__ import annotations

from xml.etree import ElementTree

from cnnstat.check.check_result import CheckResult, ModelResult, Status, Verdict
from cnnstat.check.text import located
from cnnstat.errors import inert_line
from cnnstat.report.terminal_text import printable

EPOCH = "1970-01-01T00:00:00"


def render(result: CheckResult) -> str:
    """Return the document; a warning is a passed case that its suite's output names."""
    root = ElementTree.Element("testsuites")
    for index, model in enumerate(result.models):
        root.append(_suite(result, model, index))
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _suite(result: CheckResult, model: ModelResult, index: int) -> ElementTree.Element:
    statuses = [verdict.status for verdict in model.verdicts]
    suite = ElementTree.Element(
        "testsuite",
        {
            "package": "cnnstat",
            "id": str(index),
            "name": _name(model),
            "timestamp": EPOCH,
            "hostname": "localhost",
            "tests": str(len(statuses)),
            "failures": str(statuses.count(Status.FAIL)),
            "errors": str(statuses.count(Status.UNVERIFIED)),
            "skipped": str(statuses.count(Status.SKIPPED)),
            "time": "0",
        },
    )
    properties = ElementTree.SubElement(suite, "properties")
    for key, value in _properties(result, model).items():
        ElementTree.SubElement(properties, "property", {"name": key, "value": printable(value)})
    for verdict in model.verdicts:
        suite.append(_case(model, verdict))
    warnings = [located(model, verdict) for verdict in model.verdicts if verdict.status is Status.WARN]
    notes = (inert_line(printable(note)) for note in model.notes)
    ElementTree.SubElement(suite, "system-out").text = "\n".join([*warnings, *notes])
    ElementTree.SubElement(suite, "system-err").text = ""
    return suite


def _case(model: ModelResult, verdict: Verdict) -> ElementTree.Element:
    """Return one limit, named without figures so that a test keeps its history when the limit changes."""
    name = printable(f"{verdict.metric}.{verdict.bound}")
    # Jenkins shows "package.class" as two levels: the program and the model
    case = ElementTree.Element("testcase", {"name": name, "classname": f"cnnstat.{_name(model)}", "time": "0"})
    message = printable(verdict.message)
    if verdict.status is Status.SKIPPED:
        ElementTree.SubElement(case, "skipped", {"message": message})
    elif verdict.status in (Status.FAIL, Status.UNVERIFIED):
        is_failure = verdict.status is Status.FAIL
        kind = "cnnstat.limit" if is_failure else "cnnstat.unverified"
        fault = ElementTree.SubElement(case, "failure" if is_failure else "error", {"message": message, "type": kind})
        fault.text = located(model, verdict)
    return case


def _name(model: ModelResult) -> str:
    return printable(model.name).strip() or printable(model.source).strip() or "model"


def _properties(result: CheckResult, model: ModelResult) -> dict[str, str]:
    return {
        "source": model.source,
        "configuration": result.configuration,
        "baseline": result.baseline or "none",
        "convention": result.convention,
    }
