"""Word overlap of an answer with reference answers: sentence BLEU, ROUGE-1 and ROUGE-L."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

ROUGE_TYPES = ("rouge1", "rougeL")


def overlaps(answer: str, reference: str) -> dict[str, float]:
    """bleu (0 to 100), rouge1 and rougeL (F-measures, 0 to 1) of `answer` with one reference.

    BLEU is set as in lm-eval's truthfulqa_gen (international tokenization, exponential smoothing)
    but for its effective order: an answer of three words, which has no 4-grams, is not 0 for that.
    """
    import sacrebleu

    bleu = sacrebleu.corpus_bleu(
        [answer], [[reference]], force=True, tokenize="intl", use_effective_order=True
    )
    rouge = _rouge_scorer().score(reference, answer)
    return {"bleu": bleu.score} | {name: rouge[name].fmeasure for name in ROUGE_TYPES}


def nearer_to_first(
    first: Sequence[Mapping[str, float]], second: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """NAME_acc per score: 1 when the largest in `first` exceeds the largest in `second`, else 0."""
    return {
        f"{name}_acc": float(max(s[name] for s in first) > max(s[name] for s in second))
        for name in first[0]
    }


@cache
def _rouge_scorer() -> Any:
    from rouge_score import rouge_scorer

    return rouge_scorer.RougeScorer(list(ROUGE_TYPES))
