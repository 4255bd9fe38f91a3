"""Held against a PyTorch model: what is built of its graph, and what is exported, as long as they do what it does."""

import copy

import pytest

import cnnstat
from cnnstat.errors import CnnstatError

torch = pytest.importorskip("torch")


def module_of(text):
    """The module of an exported file, which is its last class."""
    space = {"__name__": "exported"}
    exec(compile(text, "exported.py", "exec"), space)
    return [value for value in space.values() if isinstance(value, type) and value.__module__ == "exported"][-1]()


def assert_same(model, graph, *given, mode="eval", passes=1):
    """What is built and what is exported take the state dict and give the results of the model, pass after pass.

    Buffers are those of the model afterwards.
    """
    for ours in (cnnstat.build(graph), module_of(cnnstat.export(graph, to="torch"))):
        theirs = copy.deepcopy(model).train(mode == "train")
        ours.load_state_dict(theirs.state_dict())
        ours.train(mode == "train")
        for number in range(passes):
            results = []
            for each in (theirs, ours):
                torch.manual_seed(number)
                with torch.no_grad():
                    results.append(each(*(x.clone() * (number + 1) for x in given)))
            torch.testing.assert_close(results[1], results[0], rtol=0, atol=0, equal_nan=True)
        kept = dict(ours.state_dict())
        torch.testing.assert_close({name: kept[name] for name in theirs.state_dict()}, dict(theirs.state_dict()))


def assert_refused(graph, reason):
    """Neither a module nor a file can be had, and one line says why."""
    for make in (cnnstat.build, lambda graph: cnnstat.export(graph, to="torch")):
        with pytest.raises(CnnstatError, match=reason) as caught:
            make(graph)
        assert "\n" not in str(caught.value)
        assert "instead" in str(caught.value)
