"""lm-eval's own evaluation, run on answers that are there already.

A group of cells is answered in one go, while lm-eval evaluates one model at a time. So lm-eval's
requests are collected first (`Asked`), the model answers for all cells, and each cell is then
evaluated on its answers: requests, filters, metrics and sampling of documents stay lm-eval's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate

from steereval.harness.config.model_options import system_instruction
from steereval.harness.planning.cell import Cell
from steereval.results.lm_eval.samples import SUBTASK
from steereval.tasks.catalogue.task_group import TaskGroup

ResponseLog = Mapping[str, Callable[[Sequence[Instance]], Sequence[Any]]]
"""By kind, lm-eval's name of a request type, what answers such requests or raises OtherRequests."""


class Asked(Exception):
    """The response log lacks answers that lm-eval requests."""

    def __init__(self, kind: str, requests: list[Instance]) -> None:
        """Keep what was asked."""
        super().__init__(kind)
        self.kind = kind
        self.requests = requests


class OtherRequests(Exception):
    """lm-eval asks for requests that the response log does not hold."""


class Layout(Protocol):
    """Renders chats as texts: a language model, or `Chats`."""

    @property
    def tokenizer_name(self) -> str:
        """Name of the tokenizer whose chat template is used."""
        ...

    def apply_chat_template(self, *given: Any, **options: Any) -> str:
        """A chat as one text."""
        ...


@dataclass
class Chats:
    """Chats as texts: laid out by a model, and remembered for when there is none."""

    known: dict[str, str] = field(default_factory=dict)
    """Texts by the hash of the chat."""
    model: Layout | None = None
    """Renders chats that are not in `known`."""

    @property
    def tokenizer_name(self) -> str:
        """Name of the tokenizer; empty without a model."""
        return "" if self.model is None else self.model.tokenizer_name

    def apply_chat_template(self, *given: Any, **options: Any) -> str:
        """A chat as one text. Raises OtherRequests for a new chat without a model."""
        content = repr((given, sorted(options.items())))
        key = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
        if key not in self.known:
            if self.model is None:
                raise OtherRequests("a chat")
            self.known[key] = str(self.model.apply_chat_template(*given, **options))
        return self.known[key]


class Replay(LM):  # type: ignore[misc]
    """A model that reads its answers from a response log."""

    def __init__(self, responses: ResponseLog, like: Layout | None = None) -> None:
        """Give the answers of `responses`; chats are laid out as by `like`."""
        super().__init__()
        self._responses = responses
        self._like = like
        self.given = False
        """Whether an answer was given: what fails from then on is the scoring."""

    @property
    def tokenizer_name(self) -> str:
        """Name of the tokenizer whose chat template is used."""
        return str(self._like.tokenizer_name) if self._like is not None else ""

    def apply_chat_template(self, *given: Any, **options: Any) -> str:
        """A chat as one text, as the model would be given it."""
        assert self._like is not None
        return str(self._like.apply_chat_template(*given, **options))

    @property
    def chats(self) -> bool:
        """Whether chats can be laid out."""
        return self._like is not None

    def loglikelihood(self, requests: list[Instance]) -> list[Any]:
        """The answers, or Asked."""
        return self._answers("loglikelihood", requests)

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[Any]:
        """The answers, or Asked."""
        return self._answers("loglikelihood_rolling", requests)

    def generate_until(self, requests: list[Instance]) -> list[Any]:
        """The answers, or Asked."""
        return self._answers("generate_until", requests)

    def _answers(self, kind: str, requests: list[Instance]) -> list[Any]:
        if kind not in self._responses:
            raise Asked(kind, requests)
        answers = list(self._responses[kind](requests))
        self.given = True
        return answers


def evaluated(lm: Replay, task: Any, cell: Cell) -> list[dict[str, Any]]:
    """lm-eval's samples of `cell` with the answers of `lm`. Raises Asked."""
    # Drawing few-shot examples moves the task's generator on, so each evaluation resets it.
    task.set_fewshot_seed(seed=cell.fewshot_seed)
    chat = cell.model.chat_template and lm.chats
    members = task.members if isinstance(task, TaskGroup) else {cell.task.name: task}
    results = evaluate(
        lm=lm,
        task_dict=dict(members),
        limit=cell.task.limit,
        bootstrap_iters=0,
        system_instruction=system_instruction(cell.model),
        log_samples=True,
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
    )
    if not isinstance(task, TaskGroup):
        samples: list[dict[str, Any]] = results["samples"][cell.task.name]
        return samples
    return [{**each, SUBTASK: name} for name in members for each in results["samples"][name]]
