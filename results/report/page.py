"""Pages of HTML that need no network."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from steereval.results.report.choosing_grid import EXPLANATION, NOTHING_CHOSEN
from steereval.results.report.collapse_grid import RULE
from steereval.results.report.content import Content
from steereval.results.report.drawing import Picture


def render_page(content: Content) -> str:
    """The report on a run, with its figures inside it."""
    return rendered(
        "page.html.j2",
        content=content,
        inline=_inline,
        choosing_explained=EXPLANATION,
        collapse_rule=RULE,
        nothing_chosen=NOTHING_CHOSEN,
    )


def rendered(template: str, **values: Any) -> str:
    """A page made from one of the templates, with style and script inside it; `values` are
    escaped unless they are Markup."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_part),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        style=Markup(_part("page.css")),
        scripts=[Markup(_part(name)) for name in ("tables.js", "items.js")],
        **values,
    )


def _inline(picture: Picture) -> Markup:
    """A figure's SVG, in which matplotlib has escaped all text."""
    return Markup(picture.inline)


def _part(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")
