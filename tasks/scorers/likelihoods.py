"""The log-likelihoods of a document's choices, as lm-eval's models give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steereval.common.errors import TaskError


def likelihoods_of(
    document: Mapping[str, Any], results: Sequence[tuple[float, bool]]
) -> NDArray[np.float64]:
    """One log-likelihood in nats per choice, from (log-likelihood, is greedy) per choice: [n].

    Raises TaskError, naming the document's `question`, where no score can follow from them: one
    is NaN, or none is finite.
    """
    likelihoods = np.array([likelihood for likelihood, _ in results], dtype=np.float64)
    if np.isnan(likelihoods).any() or not np.isfinite(likelihoods.max()):
        raise TaskError(
            f"the answers to {document['question']!r} have the log-likelihoods "
            f"{likelihoods.tolist()}, from which no score follows",
            "A strength at which the model breaks down is the usual cause: lower it.",
        )
    return likelihoods
