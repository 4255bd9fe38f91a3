"""Requests: the options of a model, once for the Python interface, commands and configurations of checks."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields

import pytest

import cnnstat
from cnnstat.check.configuration import MODEL_KEYS
from cnnstat.sources.request import InputShape, Request, python_terms
from cnnstat.testing import assert_budget

OPTIONS = [name for name in inspect.signature(cnnstat.load).parameters if name != "source"]
OTHER = {
    "inputs": {"": InputShape((3, 8, 8))}, "batch": 2, "dtype": "float16", "variables": {"width": 4},
    "arguments": {"classes": 4}, "mode": "train", "seed": 3, "deploy": "int8", "keeps_values": True,
    "values": ((3, 8, 8), None), "input_values": {"steps": 4}, "uses_cache": True,
}  # fmt: skip


@pytest.mark.parametrize("option", fields(Request), ids=lambda option: option.name)
def test_what_one_request_asks_for_goes_before_another(option) -> None:
    asked = Request(**{option.name: OTHER[option.name]})
    default = {} if option.default is MISSING else option.default
    assert OTHER[option.name] != default
    assert Request().changed_by(asked) == asked == asked.changed_by(Request())


def test_names_with_values_add_up_and_sizes_do_not() -> None:
    one = Request(variables={"width": 4, "classes": 10}, inputs={"left": InputShape((3, 8, 8))})
    other = Request(variables={"width": 8}, inputs={"": InputShape((3, 9, 9))})
    both = one.changed_by(other)
    assert both.variables == {"width": 8, "classes": 10} and both.inputs == other.inputs


@pytest.mark.parametrize("option", OPTIONS)
def test_budgets_and_configurations_take_every_option_of_a_model(option: str) -> None:
    assert option in inspect.signature(assert_budget).parameters
    assert option in MODEL_KEYS


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("--by time needs --profile FILE", 'by="time" needs profile FILE'),
        ("networks as they are written; leave --deploy out", "networks as they are written; leave deploy out"),
        ("--mode train does not go with --deploy int8: no", 'mode="train" does not go with deploy="int8": no'),
        ("--by says what a chart is of", "by says what a chart is of"),
    ],
)
def test_only_values_of_options_are_quoted_for_python(message: str, said: str) -> None:
    assert python_terms(message) == said
