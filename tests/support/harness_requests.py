"""Small requests to a language model, about questions of the bundled set."""

from __future__ import annotations

from typing import Any

from lm_eval.api.instance import Instance

from steereval.tasks.contrast.registry import load_contrast


def questions(number: int) -> list[tuple[str, list[str]]]:
    """Questions of the bundled set with their answers."""
    result: dict[str, list[str]] = {}
    for statement in load_contrast("truthful-mini").statements:
        result.setdefault(str(statement.question), []).append(statement.answer)
    return list(result.items())[:number]


def choice_requests(number: int) -> list[Instance]:
    return [
        instance("loglikelihood", question, (f"Q: {question}\nA:", f" {answer}"))
        for question, answers in questions(number)
        for answer in answers
    ]


def writing_requests(number: int, tokens: int = 12) -> list[Instance]:
    until = {"until": ["\n"], "max_gen_toks": tokens}
    return [
        instance("generate_until", question, (f"Q: {question}\nA:", until))
        for question, _ in questions(number)
    ]


def instance(kind: Any, question: str, arguments: tuple[Any, ...]) -> Instance:
    return Instance(request_type=kind, doc={"question": question}, arguments=arguments, idx=0)
