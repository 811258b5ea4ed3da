"""How answers of the bundled preference set are scored.

    acc        1 when the chosen answer is likelier than the rejected one, else 0
    acc_norm   the same of the log-likelihoods per byte of the answer (UTF-8)

Either is 0 where the two are equal. A generated answer has distinct_1, distinct_2 and distinct_3,
the share of n-grams that are not repeats. They tell whether the model still writes text, not how
good an answer is: that is for a judge to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from steereval.tasks.scorers.distinct import distinct_scores
from steereval.tasks.scorers.likelihoods import likelihoods_of


def score_pair(
    document: Mapping[str, Any], results: Sequence[tuple[float, bool]]
) -> dict[str, float]:
    """acc and acc_norm from (log-likelihood, is greedy) of the chosen and the rejected answer.

    Raises TaskError where a log-likelihood is NaN, or none is finite.
    """
    likelihoods = likelihoods_of(document, results)
    per_byte = likelihoods / np.array([len(text.encode()) for text in document["choices"]])
    return {
        "acc": float(likelihoods[0] > likelihoods[1]),
        "acc_norm": float(per_byte[0] > per_byte[1]),
    }


def score_answer(_: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """The distinct-n of the one generated answer in `results`."""
    return distinct_scores(results[0].strip())
