"""The networks by their names, as checkpoints and exports call them."""

import importlib
import inspect
import pkgutil

import mindiffusion
from mindiffusion.unet import NaiveUnet


def _networks() -> dict[str, type[NaiveUnet]]:
    """The classes of NaiveUnet's kind in the files ``*unet.py`` beside this one: a new file is known by lying there."""
    names = [module.name for module in pkgutil.iter_modules(mindiffusion.__path__) if module.name.endswith("unet")]
    modules = [importlib.import_module(f"mindiffusion.{name}") for name in names]
    classes = [cls for module in modules for _, cls in inspect.getmembers(module, inspect.isclass)]
    return {cls.__name__: cls for cls in classes if issubclass(cls, NaiveUnet)}


REGISTRY = _networks()
