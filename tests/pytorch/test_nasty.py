"""Every nasty model gives the figures that are true of it, and is left as it was."""

import copy
import random
import warnings

import pytest

torch = pytest.importorskip("torch")

from nasty import CASES  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

import cnnstat  # noqa: E402  # needs torch to be there


def analyzed(case, model=None):
    """The model and its analysis."""
    torch.manual_seed(0)
    model = model or case.make()
    inputs = case.inputs
    dtypes = case.options.get("dtypes", {})
    if isinstance(inputs, dict):
        return model, cnnstat.analyze(model, inputs=inputs, mode=case.mode)
    given = tuple(
        torch.zeros(shape, dtype=getattr(torch, dtypes[i])) if i in dtypes else shape for i, shape in enumerate(inputs)
    )
    return model, cnnstat.analyze(model, given, mode=case.mode)


def leaf_tensors(model):
    """All parameters and buffers with a copy of their values."""
    return [(n, t, t.detach().clone(), t.grad) for n, t in (*model.named_parameters(), *model.named_buffers())]


@pytest.mark.parametrize("name", CASES)
def test_macs_shapes_and_parameters(name):
    case = CASES[name]
    model, analysis = analyzed(case)
    assert analysis.totals.macs == case.macs
    if not case.options.get("lazy"):
        assert analysis.totals.params == sum(p.numel() for p in model.parameters())
        assert analysis.totals.trainable_params == sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert analysis.totals.buffers == sum(b.numel() for b in model.buffers())
    edge = analysis.graph.outputs[0]
    assert analysis.values.outputs[edge.value][edge.output] == tuple(case.output)
    assert analysis.uncounted == case.uncounted
    assert bool(analysis.graph.about.get("notes_torch")) == (case.noted or _has_unused(analysis))


def _has_unused(analysis):
    """Whether some parameters are used by no call."""
    return any(layer.op.kind == "Unused" and layer.params for layer in analysis.layers)


@pytest.mark.parametrize("name", CASES)
def test_columns_add_up_to_the_totals(name):
    _, analysis = analyzed(CASES[name])
    for column in ("params", "trainable_params", "buffers", "macs", "flops"):
        assert sum(getattr(layer, column) for layer in analysis.layers) == getattr(analysis.totals, column)
    assert sum(layer.output_bytes for layer in analysis.layers) == analysis.memory.activation_bytes


@pytest.mark.parametrize("name", CASES)
def test_the_model_is_left_as_it_was(name):
    case = CASES[name]
    if case.options.get("lazy"):
        pytest.skip("parameters that do not exist yet cannot be compared")
    torch.manual_seed(0)
    model = case.make()
    tensors, modes = leaf_tensors(model), [m.training for m in model.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    attributes = [set(vars(m)) for m in model.modules()]
    containers = [(v, copy.copy(v)) for m in model.modules() for v in vars(m).values() if type(v) in (list, set)]
    calls = getattr(type(model), "calls", None)
    state, python_state = torch.get_rng_state(), random.getstate()
    options = {"inputs": case.inputs} if isinstance(case.inputs, dict) else {"input": _given(case)}
    cnnstat.analyze(model, mode=case.mode, **options)
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python_state
    assert [m.training for m in model.modules()] == modes
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks
    assert [set(vars(m)) for m in model.modules()] == attributes
    assert all(value == content for value, content in containers)
    assert getattr(type(model), "calls", None) == calls
    for (name, tensor, value, grad), (name_now, tensor_now, *_) in zip(tensors, leaf_tensors(model), strict=True):
        assert name == name_now
        assert tensor is tensor_now or isinstance(model, torch.jit.ScriptModule) or "inner" in name
        assert torch.equal(tensor_now, value)
        assert tensor_now.grad is grad
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks


def _given(case):
    """The inputs of a case as the interface takes them."""
    dtypes = case.options.get("dtypes", {})
    return tuple(
        torch.zeros(shape, dtype=getattr(torch, dtypes[i])) if i in dtypes else shape
        for i, shape in enumerate(case.inputs)
    )


@pytest.mark.parametrize("name", CASES)
def test_shapes_are_those_of_a_real_pass(name):
    case = CASES[name]
    if isinstance(case.inputs, dict) or case.options.get("lazy"):
        pytest.skip("covered above")
    model, analysis = analyzed(case)
    seen = {}
    hooks = [
        module.register_forward_hook(lambda m, i, o, path=path: seen.setdefault(path, o))
        for path, module in model.named_modules()
        if path and not list(module.children()) and not isinstance(module, torch.jit.ScriptModule)
    ]
    model.train(case.mode == "train")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = model(*map(_tensor, _given(case)))
    shapes = [tuple(each.shape) for each in tree_leaves(results) if isinstance(each, torch.Tensor)]
    assert shapes == [analysis.values.outputs[value][output] for value, output in analysis.graph.outputs]
    for hook in hooks:
        hook.remove()
    for layer in analysis.layers:
        made = seen.get(layer.name)
        if isinstance(made, torch.Tensor):
            assert layer.output_shape == tuple(made.shape), layer.name


def _tensor(value):
    """Real tensors for shapes in any nesting."""
    if isinstance(value, dict):
        return {key: _tensor(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_tensor(item) for item in value]
    return torch.rand(value) if isinstance(value, tuple) else value
