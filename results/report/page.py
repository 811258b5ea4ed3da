"""The report as one HTML page that needs no network."""

from __future__ import annotations

from importlib import resources

import jinja2
from markupsafe import Markup

from steereval.results.report.choosing_grid import EXPLANATION, NOTHING_CHOSEN
from steereval.results.report.content import Content
from steereval.results.report.drawing import Picture


def render_page(content: Content) -> str:
    """The page, with its style, script and figures inside it; everything else is escaped."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.from_string(_part("page.html.j2"))
    return template.render(
        content=content,
        style=Markup(_part("page.css")),
        scripts=[Markup(_part(name)) for name in ("tables.js", "items.js")],
        inline=_inline,
        choosing_explained=EXPLANATION,
        nothing_chosen=NOTHING_CHOSEN,
    )


def _inline(picture: Picture) -> Markup:
    """A figure's SVG, in which matplotlib has escaped all text."""
    return Markup(picture.inline)


def _part(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")
