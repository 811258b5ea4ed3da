"""JSON schemas of the grid file and of a run folder, and the reference in docs/grid.md.

    python -m steereval.harness.config.schemas DOCS

writes DOCS/schema/*.json and the reference between the marks in DOCS/grid.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from steereval.harness.config.reference import with_reference
from steereval.harness.config.specs import Grid
from steereval.models.methods.options import options_schema
from steereval.models.methods.registry import BUILT_IN
from steereval.results.store.answers import AnswerRecord
from steereval.results.store.cell_record import CellRecord
from steereval.results.store.diagnosis import DiagnosisRecord
from steereval.results.store.manifest import Manifest
from steereval.results.store.profiles import Profile
from steereval.results.store.progress import Progress

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DOCUMENTS: dict[str, type] = {
    "manifest": Manifest,
    "cell-record": CellRecord,
    "progress": Progress,
    "profile": Profile,
    "answer-record": AnswerRecord,
    "diagnosis-record": DiagnosisRecord,
}
"""{name of the schema: model of a JSON document in a run folder}."""


def schemas() -> dict[str, dict[str, Any]]:
    """{name: JSON schema} of the grid file and of every document of a run folder."""
    documents = {name: _schema(model, "serialization") for name, model in DOCUMENTS.items()}
    return {"grid": grid_schema(), **documents}


def grid_schema() -> dict[str, Any]:
    """The schema of a grid file, with the options of the built-in methods.

    A method that another package registers has whatever options it declares, so an editor
    suggests the built-in names and accepts others.
    """
    schema = _schema(Grid, "validation")
    method = schema["$defs"]["MethodSpec"]
    description = method["properties"]["name"]["description"]
    names = {"anyOf": [{"enum": list(BUILT_IN)}, {"type": "string"}], "description": description}
    method["properties"]["name"] = names
    method["allOf"] = [
        {
            "if": {"properties": {"name": {"const": name}}},
            "then": {"properties": {"options": {"$ref": f"#/$defs/options_{name}"}}},
        }
        for name in BUILT_IN
    ]
    for name, built_in in BUILT_IN.items():
        schema["$defs"][f"options_{name}"] = options_schema(built_in.Options)
    return schema


def _schema(model: type, mode: Any) -> dict[str, Any]:
    schema = TypeAdapter(model).json_schema(mode=mode)
    return {"$schema": DIALECT, **_without_titles(schema)}


def _without_titles(value: Any) -> Any:
    """A schema without the titles that pydantic makes of the fields' names."""
    if isinstance(value, list):
        return [_without_titles(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without_titles(each)
        for key, each in value.items()
        if key != "title" or not isinstance(each, str)
    }


def written(docs: Path) -> dict[Path, str]:
    """{file in the folder `docs`: the text that it should have}."""
    texts = {
        docs / "schema" / f"{name}.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in schemas().items()
    }
    page = docs / "grid.md"
    return texts | {page: with_reference(page.read_text(encoding="utf-8"))}


def main(docs: Path) -> None:
    """Write the schemas and the reference into the folder `docs`."""
    (docs / "schema").mkdir(exist_ok=True)
    for path, text in written(docs).items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
