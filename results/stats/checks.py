"""Checks of what the statistics are given; each refusal names the value and a remedy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from steereval.common.errors import InputError
from steereval.results.stats.effect import Floats, Labels


def finite(name: str, values: npt.ArrayLike) -> Floats:
    """`values` as a non-empty array of finite doubles, else InputError."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise InputError(f"{name} is empty", "Give at least one value.")
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        raise InputError(
            f"{name} holds {bad} value(s) that are NaN or infinite, of {array.size}",
            "Leave those items out and say how many, or report them as failed.",
        )
    return array


def items_by_seeds(name: str, values: npt.ArrayLike) -> Floats:
    """`values` as a finite matrix [items, seeds]; a vector is one seed."""
    array = finite(name, values)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise wrong_dimensions(name, array, "a matrix [items, seeds]")
    return array


def wrong_dimensions(name: str, array: Floats, wanted: str) -> InputError:
    """The error of an array with a wrong number of dimensions."""
    return InputError(f"{name} has {array.ndim} dimensions", f"Give {wanted}.")


def too_few(what: str, count: int, needed: int) -> InputError:
    """The error of fewer groups or rows than a variance needs."""
    return InputError(f"there are {count} {what}", f"Give at least {needed}.")


def codes(name: str, labels: npt.ArrayLike | None, n_items: int) -> Labels:
    """Labels [items] as integers 0, 1, …; without labels each item is a group of its own."""
    if labels is None:
        return np.arange(n_items)
    array = np.asarray(labels)
    if array.shape != (n_items,):
        raise InputError(
            f"{name} has shape {array.shape}, and there are {n_items} items",
            "Give one label for each item.",
        )
    return np.unique(array, return_inverse=True)[1].astype(np.intp)


def fraction(name: str, value: float) -> float:
    """`value` if it lies strictly between 0 and 1, else InputError."""
    if not 0.0 < value < 1.0:
        raise InputError(f"{name} is {value}", "Give a number strictly between 0 and 1.")
    return value


def p_values(values: npt.ArrayLike) -> Floats:
    """`values` as a vector of probabilities; it may be empty."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise InputError(f"the p-values have {array.ndim} dimensions", "Give a vector.")
    if not bool(np.all((array >= 0.0) & (array <= 1.0))):
        bad = array[~((array >= 0.0) & (array <= 1.0))][0]
        raise InputError(f"{bad} is not a p-value", "Give numbers from 0 to 1, and no NaN.")
    return array
