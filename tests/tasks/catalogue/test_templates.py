"""lm-eval's templates are compiled once, and say the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from lm_eval import utils

from steereval.tasks.catalogue.templates import keep_compiled

TEMPLATE = "Q: {{question}}\n{% if answers|length > 1 %}{{answers[0]}}{% endif %}\n"


@pytest.fixture
def environment() -> Iterator[Any]:
    """lm-eval's own environment as it comes, and as it was before afterwards."""
    original = vars(utils.env).pop("from_string", None)
    yield utils.env
    vars(utils.env).pop("from_string", None)
    if original is not None:
        utils.env.from_string = original


def test_each_template_is_compiled_once(environment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    compile_ = environment.compile

    def counted(source: str, *given: Any, **options: Any) -> Any:
        compiled.append(source)
        return compile_(source, *given, **options)

    monkeypatch.setattr(environment, "compile", counted)
    docs = [{"question": str(n), "answers": ["yes"] * n} for n in range(5)]
    expected = [utils.apply_template(TEMPLATE, doc) for doc in docs]
    assert len(compiled) == len(docs)

    compiled.clear()
    keep_compiled()
    keep_compiled()
    for _ in range(2):
        assert [utils.apply_template(TEMPLATE, doc) for doc in docs] == expected
    assert compiled == [TEMPLATE]
    assert utils.apply_template("{{question|upper}}", {"question": "why"}) == "WHY"


def test_what_a_document_lacks_is_still_an_error(environment: Any) -> None:
    keep_compiled()
    for _ in range(2):
        with pytest.raises(Exception, match="'answers' is undefined"):
            utils.apply_template(TEMPLATE, {"question": "why"})


def test_tasks_that_we_load_use_it(environment: Any) -> None:
    from steereval.tasks.catalogue.loading import load_tasks

    assert "from_string" not in vars(environment)
    load_tasks(["truthful_mini_mc"], None)
    assert "from_string" in vars(environment)
