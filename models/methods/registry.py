"""All steering methods by name."""

from __future__ import annotations

from steereval.errors import UnknownNameError
from steereval.models.methods.caa import Caa
from steereval.models.methods.method import Method
from steereval.models.methods.none import Unsteered
from steereval.models.methods.odesteer import OdeSteer
from steereval.models.methods.step_odesteer import StepOdeSteer

METHODS: dict[str, Method] = {
    method.name: method for method in (Unsteered(), Caa(), OdeSteer(), StepOdeSteer())
}


def get_method(name: str) -> Method:
    """The method called `name`. Raises UnknownNameError."""
    if name not in METHODS:
        raise UnknownNameError.of("method", name, METHODS)
    return METHODS[name]
