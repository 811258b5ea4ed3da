"""Pages of HTML that need no network."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup, escape

from steereval.results.report.blocks import Code, Facts, Fold, Items, Legend, Pictures, Text
from steereval.results.report.content import Content
from steereval.results.report.plots.drawing import Picture
from steereval.results.report.tables.table import ReportTable

KINDS = {
    Text: "text",
    Legend: "legend",
    Pictures: "pictures",
    Facts: "facts",
    Code: "code",
    Items: "items",
    Fold: "fold",
    ReportTable: "grid",
}
"""Names of the kinds of blocks in the templates."""


def render_page(content: Content) -> str:
    """The report on a run, with its figures inside it."""
    return rendered("page.html.j2", content=content)


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
    environment.globals |= {
        "inline": _inline,
        "kind_of": lambda block: KINDS[type(block)],
        "prose": _prose,
    }
    return environment.get_template(template).render(
        style=Markup(_part("page.css")),
        scripts=[Markup(_part(name)) for name in ("tables.js", "items.js")],
        **values,
    )


def _inline(picture: Picture) -> Markup:
    """A figure's SVG, in which matplotlib has escaped all text."""
    return Markup(picture.inline)


def _prose(text: str) -> Markup:
    """`text`, escaped, with what stands between backticks as code."""
    parts = escape(text).split("`")
    if len(parts) % 2 == 0:  # a backtick that closes nothing is one of a name
        return escape(text)
    marked = (
        Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts)
    )
    return Markup("").join(marked)


def _part(name: str) -> str:
    return (resources.files("steereval.results.report") / "templates" / name).read_text(
        encoding="utf-8"
    )
