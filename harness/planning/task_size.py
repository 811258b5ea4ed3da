"""About how long a loaded task's prompts and answers are, from a few of its documents."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from statistics import fmean
from typing import Any

from steereval.tasks.catalogue.cards import TaskSize
from steereval.tasks.catalogue.task_group import generates, subtasks_of

LOOKED_AT = 16
"""Documents that stand for all."""
CHARACTERS = 4
"""Characters of a token, about, in English."""
GENERATED = 256
"""Tokens of an answer for which a task sets no limit, as lm-eval's own model has it."""


def task_size(task: Any, documents: int) -> TaskSize:
    """The size of lm-eval's `task` with that many documents; of a group by its first subtasks."""
    members = list(islice(subtasks_of(task).values(), LOOKED_AT))
    some = -(-LOOKED_AT // len(members))
    by_document = [_requests(each, doc) for each in members for doc in islice(each.eval_docs, some)]
    prompts = [_tokens(str(requests[0].args[0])) for requests in by_document if requests]
    if generates(task):
        return TaskSize(documents, _mean(prompts), generated=max(map(_longest, members)))
    answers = [_tokens(str(request.args[-1])) for requests in by_document for request in requests]
    count = _mean([len(requests) for requests in by_document])
    return TaskSize(documents, _mean(prompts), count, _mean(answers))


def _longest(task: Any) -> int:
    """Tokens of an answer at most."""
    return int((task.get_config("generation_kwargs") or {}).get("max_gen_toks", GENERATED))


def _requests(task: Any, doc: Any) -> list[Any]:
    """Requests of the task for one document, without few-shot examples."""
    prompt = task.doc_to_text(doc)
    # A task with several prompts for one answer (Winogrande) has the number of the right one here.
    text = prompt if isinstance(prompt, str) else task.doc_to_choice(doc)
    requests = task.construct_requests(doc, text, metadata=(None, None, None))
    return list(requests) if isinstance(requests, list | tuple) else [requests]


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS)


def _mean(values: Sequence[int]) -> int:
    return max(1, round(fmean(values))) if values else 1
