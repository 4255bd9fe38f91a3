"""SOURCE with a colon: which class, function or model in Python code it names."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from cnnstat.errors import ModelError, SourceError, did_you_mean
from cnnstat.files import exists
from cnnstat.pytorch.construct import ModelCode, error_line
from cnnstat.sources.other_tools import LIBRARIES


def locate(source: str) -> ModelCode:
    """Return what `torchvision:NAME`, `timm:NAME`, `file.py:NAME` or `module:NAME` means; raises SourceError."""
    place, _, name = source.rpartition(":")
    if place == "torchvision":
        return _torchvision(name)
    if place == "timm":
        return _timm(name)
    module = _file(place) if place.endswith(".py") or "/" in place else _module(place)
    value = _attribute(module, name, place)
    if inspect.isclass(value) or not _is_model(value):
        if not callable(value):
            raise SourceError(f"{source[:100]}: {name} is no class, function or model, but {type(value).__name__}")
        return ModelCode(source, value, None, name)
    return ModelCode(source, None, value, name)


def _is_model(value: Any) -> bool:
    import torch

    return isinstance(value, torch.nn.Module)


def _package(name: str) -> ModuleType:
    """Import a package of models; raises SourceError with how to install it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise SourceError(f"{name} cannot be imported: {error}") from error
        raise SourceError(f"{name} is not installed; pip install {name}") from error
    except Exception as error:
        hint = f"; it may be built for another PyTorch than {_torch_version()}" if name != "timm" else ""
        raise SourceError(f"{name} cannot be imported: {error_line(error)}{hint}") from error


def _torchvision(name: str) -> ModelCode:
    """Return a model of torchvision.models, those for segmentation, detection, video and optical flow included."""
    _package("torchvision")
    models = _package("torchvision.models")
    known = models.list_models()
    if name not in known:
        raise SourceError(f"torchvision:{name[:60]}: torchvision has no such model{_hint(name, known)}")
    builder = models.get_model_builder(name)
    parameters = inspect.signature(builder).parameters
    # Pretrained weights would be downloaded; some models load those of their backbone unless told not to.
    fixed = tuple((option, None) for option in ("weights", "weights_backbone") if option in parameters)
    return ModelCode(f"torchvision:{name}", builder, None, name, "torchvision", fixed)


def _timm(name: str) -> ModelCode:
    """Return a model of timm."""
    timm = _package("timm")
    plain = name.partition(".")[0]
    if not timm.is_model(plain):
        known = timm.list_models()
        raise SourceError(f"timm:{name[:60]}: timm has no such model{_hint(plain, known)}")

    def build(**arguments: Any) -> Any:
        return timm.create_model(name, pretrained=False, **arguments)

    return ModelCode(f"timm:{name}", build, None, name, "timm")


def _hint(name: str, known: list[str]) -> str:
    return did_you_mean(name, known) or f"; it has {len(known)}, among them {', '.join(known[:3])}"


def _module(place: str) -> ModuleType:
    """Import a module, looking into the current folder too; raises SourceError."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        missing = error.name or place
        if place == missing or place.startswith(f"{missing}."):
            hint = did_you_mean(place, LIBRARIES) or "; is it installed?"
            if exists(place):
                hint = "; a file is named with its ending .py"
            raise SourceError(f"{place[:100]}: there is no module called {missing}{hint}") from error
        raise SourceError(f"{place[:100]} cannot be imported: it needs {missing}, which is not installed") from error
    except Exception as error:
        raise ModelError(f"{place[:100]} cannot be imported: {error_line(error)}") from error


def _file(place: str) -> ModuleType:
    """Run a Python file as a module, with its own folder first on the path; raises SourceError."""
    path = Path(place).expanduser().resolve()
    if (path.parent / "__init__.py").is_file():
        return _packaged(path)
    name = path.stem
    # As for a script: dataclasses look their module up by name, and the file may import its neighbours.
    while name in sys.modules and getattr(sys.modules[name], "__file__", None) != str(path):
        name += "_"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SourceError(f"{place[:200]}: is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        hint = "; name it as package.module:Class instead" if "relative import" in str(error) else ""
        raise ModelError(f"{place[:200]} cannot be run: {error_line(error)}{hint}") from error
    return module


def _packaged(path: Path) -> ModuleType:
    """Import a file that lies in a package, so that its relative imports work; raises SourceError."""
    parts, folder = [] if path.name == "__init__.py" else [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.append(folder.name)
        folder = folder.parent
    sys.path.insert(0, str(folder))
    return _module(".".join(reversed(parts)))


def _attribute(module: ModuleType, name: str, place: str) -> Any:
    """Return what a dotted name means in a module; raises SourceError with the nearest right one."""
    value: Any = module
    for part in name.split("."):
        known = [word for word in vars(value) if not word.startswith("_")] if hasattr(value, "__dict__") else []
        if not hasattr(value, part):
            callables = [word for word in known if callable(getattr(value, word))]
            hint = did_you_mean(part, callables) or (f"; it has {', '.join(callables[:8])}" if callables else "")
            raise SourceError(f"{place[:100]} has no {part[:60]}{hint}")
        value = getattr(value, part)
    return value


def _torch_version() -> str:
    import torch

    return str(torch.__version__)
