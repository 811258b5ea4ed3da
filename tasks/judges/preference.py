"""The reward model: how good is a response to its prompt?"""

from __future__ import annotations

from collections.abc import Sequence

from steereval.tasks.catalogue.cards import MetricCard
from steereval.tasks.judges.judge import Answer, Judge, Scorer, Texts, Value


def _texts(answer: Answer) -> Texts:
    """The question as a user writes it, and the reply: the words that frame a question in the
    task's prompt are for models that do not chat."""
    return answer.question, answer.response.strip()


def _values(numbers: Sequence[float]) -> dict[str, Value]:
    return {"reward": (numbers[0], 1.0)}


REWARD = Judge(
    "reward",
    "how much does a reward model like the response?",
    {"": Scorer("reward", "Skywork/Skywork-Reward-V2-Llama-3.1-8B")},
    _texts,
    _values,
    {"reward": MetricCard("continuous", True)},
)


def win(reward: float, unsteered: float) -> float:
    """1 where a response has more reward than the unsteered model's to the same prompt, one half
    where both have the same, else 0."""
    return 0.5 if reward == unsteered else float(reward > unsteered)
