"""All steering methods by name: those of this package, and those that other packages register.

A package adds methods by entry points of the group `steereval.methods`, each naming a subclass of
`Method`: see docs/own-method.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from steereval.common.errors import InputError, UnknownNameError
from steereval.models.methods.ablate import Ablate
from steereval.models.methods.angular import Angular
from steereval.models.methods.caa import Caa
from steereval.models.methods.conditional import Conditional
from steereval.models.methods.gradient_ascent import GradientAscent
from steereval.models.methods.hpr import Hpr
from steereval.models.methods.iti import Iti
from steereval.models.methods.iti_heads import ItiHeads
from steereval.models.methods.linact import LinAct
from steereval.models.methods.linear_sphere import LinearSphere
from steereval.models.methods.method import Method
from steereval.models.methods.mimic import Mimic
from steereval.models.methods.none import Unsteered
from steereval.models.methods.odesteer import OdeSteer
from steereval.models.methods.re_control import ReControl
from steereval.models.methods.repe import Repe
from steereval.models.methods.rff_odesteer import RffOdeSteer
from steereval.models.methods.step_odesteer import StepOdeSteer
from steereval.models.methods.truthflow import TruthFlow
from steereval.models.methods.vector import Vector
from steereval.models.steering.steerer import Steerer

GROUP = "steereval.methods"

BUILT_IN: dict[str, Method] = {
    method.name: method
    for method in (
        Unsteered(),
        Caa(),
        Repe(),
        Iti(),
        ItiHeads(),
        Mimic(),
        LinAct(),
        Hpr(),
        ReControl(),
        TruthFlow(),
        OdeSteer(),
        StepOdeSteer(),
        RffOdeSteer(),
        GradientAscent(),
        LinearSphere(),
        Ablate(),
        Angular(),
        Conditional(),
        Vector(),
    )
}


@cache
def methods() -> Mapping[str, Method]:
    """Every method by name, built-in ones first.

    Raises InputError for an entry point that is no method, or takes a name that is taken.
    """
    by_name = dict(BUILT_IN)
    for entry in entry_points(group=GROUP):
        if entry.name in by_name:
            raise InputError(
                f"the entry point {entry.name} = {entry.value} takes the name of a method there is",
                "Rename it in the package that registers it.",
            )
        by_name[entry.name] = _load(entry)
    return by_name


def _load(entry: EntryPoint) -> Method:
    try:
        made = entry.load()()
    except Exception as error:  # another package may raise anything
        reason = str(error) or repr(error)
        raise InputError(
            f"the method {entry.name} = {entry.value} cannot be loaded: {reason}",
            "Mend or remove the package that registers it.",
        ) from error
    if not isinstance(made, Method) or made.name != entry.name:
        raise InputError(
            f"the entry point {entry.name} = {entry.value} is no steering method of that name",
            "It must name a subclass of steereval.models.methods.method.Method.",
        )
    return made


def get_method(name: str) -> Method:
    """The method called `name`. Raises UnknownNameError."""
    if name not in methods():
        raise UnknownNameError.of("method", name, methods())
    return methods()[name]


def steerer_kinds() -> dict[str, type[Steerer]]:
    """Classes of all steerers by the name that artefacts give them.

    Raises InputError if two classes have the same name: artefacts would not tell them apart.
    """
    by_name: dict[str, type[Steerer]] = {}
    for method in methods().values():
        for kind in method.kinds:
            if by_name.setdefault(kind.method, kind) is not kind:
                raise InputError(
                    f"method {method.name} and another both have a steerer {kind.method!r}",
                    "Give the class another name in its attribute `method`.",
                )
    return by_name


def package_of(name: str) -> str:
    """Package and version, as `name==version`, that a method comes from; "" for built-in ones."""
    if name in BUILT_IN:
        return ""
    (entry,) = entry_points(group=GROUP, name=name)
    return f"{entry.dist.name}=={entry.dist.version}" if entry.dist else ""
