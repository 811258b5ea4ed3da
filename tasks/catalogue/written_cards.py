"""The cards of the tasks that are described here."""

from __future__ import annotations

from collections.abc import Mapping

from steereval.tasks.catalogue.card_types import MetricCard, TaskCard, TaskSize

_ACCURACY = MetricCard("binary", True)
_SHARE = MetricCard("bounded", True)
_DISTINCT = {f"distinct_{n}": _SHARE for n in (1, 2, 3)}
_CATEGORY = "the question's category"


def _card_on_questions(
    name: str,
    description: str,
    primary_metric: str,
    metrics: Mapping[str, MetricCard],
    benchmark: str | None = None,
    size: TaskSize | None = None,
    family: str | None = None,
) -> TaskCard:
    """The card of a task whose documents are TruthfulQA-like questions."""
    return TaskCard(
        name=name,
        description=description,
        primary_metric=primary_metric,
        metrics=metrics,
        role="target",
        cluster=_CATEGORY,
        cluster_field="category",
        question_field="question",
        benchmark=benchmark,
        size=size,
        family=family,
    )


def _overlap_metrics() -> dict[str, MetricCard]:
    """truthfulqa_gen's metrics: _max and _diff are on a scale of 100."""
    metrics: dict[str, MetricCard] = {}
    for score in ("bleu", "rouge1", "rouge2", "rougeL"):
        metrics |= {f"{score}_max": MetricCard("continuous", True), f"{score}_acc": _ACCURACY}
        metrics[f"{score}_diff"] = MetricCard("continuous", True)
    return metrics


def _knowledge_card(
    name: str, description: str, metrics: tuple[str, ...], field: str, of: str
) -> TaskCard:
    """The card of bundled questions that steering must not harm, clustered by their `field`."""
    return TaskCard(
        name=name,
        description=description,
        primary_metric=metrics[0],
        metrics=dict.fromkeys(metrics, _ACCURACY),
        role="capability",
        cluster=of,
        cluster_field=field,
    )


WRITTEN_CARDS = (
    _card_on_questions(
        "truthful_mini_mc",
        "common misconceptions: is the true answer likelier? (bundled)",
        "mc2",
        {"mc1": _ACCURACY, "mc2": _SHARE},
    ),
    _card_on_questions(
        "truthful_mini_gen",
        "common misconceptions: does the written answer overlap with true ones? (bundled)",
        "bleu_acc",
        dict.fromkeys(("bleu_acc", "rouge1_acc", "rougeL_acc"), _ACCURACY) | _DISTINCT,
    ),
    # Categories of prompts are not clusters, here and for preferences: they are the strata that
    # the prompts were chosen by, not a sample of a population of strata.
    TaskCard(
        name="ultrafeedback_mini_mc",
        description="prompts of ten kinds: is the better answer likelier? (bundled)",
        primary_metric="acc_norm",
        metrics={"acc": _ACCURACY, "acc_norm": _ACCURACY},
        role="target",
        question_field="question",
    ),
    TaskCard(
        name="ultrafeedback_mini_gen",
        description="prompts of ten kinds: written answers, for a judge; repetition (bundled)",
        primary_metric="distinct_2",
        metrics=_DISTINCT,
        role="target",
        question_field="question",
    ),
    TaskCard(
        name="realtoxicity_mini",
        description="is the continuation of a provoking prompt toxic? (bundled classifier)",
        primary_metric="toxicity",
        metrics={
            "toxicity": MetricCard("bounded", False),
            "toxic": MetricCard("binary", False),
            **_DISTINCT,
        },
        role="target",
        needs=("realtoxicity_mini", "profanity_classifier"),
    ),
    _knowledge_card(
        "mmlu_mini",
        "knowledge of fourteen subjects, the letter of one of four choices (bundled)",
        ("acc",),
        "subject",
        "the question's subject",
    ),
    _knowledge_card(
        "mmlu_mini_continuation",
        "the same by the answers' texts, for models that are at chance with letters (bundled)",
        ("acc", "acc_norm"),
        "subject",
        "the question's subject",
    ),
    _knowledge_card(
        "arc_mini",
        "science at school, one of four answers (bundled)",
        ("acc", "acc_norm"),
        "category",
        _CATEGORY,
    ),
    _knowledge_card(
        "commonsense_mini",
        "everyday reasoning, the letter of one of five choices (bundled)",
        ("acc",),
        "category",
        _CATEGORY,
    ),
    _knowledge_card(
        "commonsense_mini_continuation",
        "the same by the answers' texts, for models that are at chance with letters (bundled)",
        ("acc", "acc_norm"),
        "category",
        _CATEGORY,
    ),
    _card_on_questions(
        "truthfulqa_mc1",
        "TruthfulQA: is the best answer the likeliest? (--data-dir or hub)",
        "acc",
        {"acc": _ACCURACY},
        "truthfulqa",
        TaskSize(documents=817, prompt_tokens=188, answers=5, answer_tokens=11),
        "truthfulqa_mc",
    ),
    _card_on_questions(
        "truthfulqa_mc2",
        "TruthfulQA: probability of the true answers (--data-dir or hub)",
        "acc",
        {"acc": _SHARE},
        "truthfulqa",
        TaskSize(documents=817, prompt_tokens=188, answers=8, answer_tokens=11),
        "truthfulqa_mc",
    ),
    _card_on_questions(
        "truthfulqa_gen",
        "TruthfulQA: does the written answer overlap with true ones? (--data-dir or hub)",
        "bleu_acc",
        _overlap_metrics(),
        "truthfulqa",
    ),
    _card_on_questions(
        "truthfulqa_open",
        "TruthfulQA, written answers for judges such as truth and info (--data-dir or hub)",
        "distinct_2",
        _DISTINCT,
        "truthfulqa",
        TaskSize(documents=817, prompt_tokens=18, generated=50),
    ),
    TaskCard(
        name="ultrafeedback",
        description="UltraFeedback, 500 prompts; for the judge reward (--data-dir or hub)",
        primary_metric="distinct_2",
        metrics=_DISTINCT,
        role="target",
        question_field="question",
        benchmark="ultrafeedback",
        size=TaskSize(documents=500, prompt_tokens=200, generated=50),
    ),
    TaskCard(
        name="realtoxicity",
        description="RealToxicityPrompts, 500 toxic ones; for the judge toxicity (--data-dir or "
        "hub)",
        primary_metric="distinct_2",
        metrics=_DISTINCT,
        role="target",
        benchmark="realtoxicityprompts",
        size=TaskSize(documents=500, prompt_tokens=15, generated=50),
    ),
    TaskCard(
        name="mmlu_all",
        description="MMLU, all 57 subjects as one task (--data-dir or hub)",
        primary_metric="acc",
        metrics={"acc": _ACCURACY},
        role="capability",
        cluster="the question's subject",
        cluster_field="subject",
        benchmark="mmlu",
        size=TaskSize(documents=14_042, prompt_tokens=110, answers=4, answer_tokens=1),
    ),
    TaskCard(
        name="arc_challenge",
        description="ARC-Challenge: grade-school science, the harder questions (hub)",
        primary_metric="acc",
        metrics={"acc": _ACCURACY, "acc_norm": _ACCURACY},
        role="capability",
        benchmark="arc_challenge",
        size=TaskSize(documents=1_172, prompt_tokens=30, answers=4, answer_tokens=6),
    ),
    TaskCard(
        name="commonsense_qa",
        description="CommonsenseQA: five answers to choose from (hub)",
        primary_metric="acc",
        metrics={"acc": _ACCURACY},
        role="capability",
        benchmark="commonsense_qa",
        size=TaskSize(documents=1_221, prompt_tokens=45, answers=5, answer_tokens=1),
    ),
)
