"""Registers the steered model with lm-eval when, and only when, lm-eval's models are imported.

Its name is `steereval`, with `odesteer` as an alias. Imported at every start of Python by
`steereval.pth`, so it imports nothing but `sys` and does next to nothing: it waits for
`lm_eval.models` and then registers a lazy placeholder there. The environment variable
STEEREVAL_NO_LM_EVAL_HOOK=1 turns it off.
"""

import sys

NAMES = ("steereval", "odesteer")
TARGET = "steereval.harness.engine.steered_lm:SteeredLM"
WATCHED = "lm_eval.models"


class _Finder:
    """A meta-path finder for exactly one module, which removes itself after the first match."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> object:
        if name != WATCHED:
            return None
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not _Finder]
        from importlib.util import find_spec
        from os import environ

        if environ.get("STEEREVAL_NO_LM_EVAL_HOOK"):
            return None
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


class _Loader:
    """Runs the module with its own loader, then registers the placeholder."""

    def __init__(self, loader):  # type: ignore[no-untyped-def]
        self._loader = loader

    def __getattr__(self, name):  # type: ignore[no-untyped-def]
        return getattr(self._loader, name)

    def create_module(self, spec):  # type: ignore[no-untyped-def]
        return self._loader.create_module(spec)

    def exec_module(self, module):  # type: ignore[no-untyped-def]
        self._loader.exec_module(module)
        module.__spec__.loader = module.__loader__ = self._loader
        try:
            register()
        except Exception as error:
            print(f"steereval could not register with lm-eval: {error}", file=sys.stderr)


def register() -> None:
    """Register the placeholder under both names where they are free."""
    from lm_eval.api.registry import model_registry

    for name in NAMES:
        if name not in model_registry:
            model_registry.register(name, target=TARGET)


sys.meta_path.insert(0, _Finder)  # type: ignore[arg-type]
