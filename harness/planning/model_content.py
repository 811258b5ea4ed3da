"""Content of a model: the hashes of a folder's files, or the commit of a name on the hub."""

from __future__ import annotations

from collections.abc import Iterator, Set
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from steereval.common.errors import ModelError
from steereval.common.hashing import hashes_of
from steereval.common.reading import parse_json
from steereval.common.text import first_line
from steereval.harness.assets import model_at_hand
from steereval.harness.config.grid import ModelSpec

COMMIT = "commit"
"""The part of a model on the hub that stands for all of its files."""
CONFIG, ADAPTER = "config.json", "adapter_config.json"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer", "tokenizer_config.json"
_INDEX = ".index.json"
"""Ending of the name of an index file, which maps weights to shards."""
_NOT_LOADED = (
    *(".*", "*.md", "*.log", "*.lock", "*.png", "*.jpg", "*.jpeg", "*.gif", "*.pdf"),
    *("LICENSE*", "NOTICE*", "USE_POLICY*", "events.out.*", "training_args.bin", "optimizer*"),
    *("scheduler*", "scaler*", "rng_state*", "trainer_state.json"),
)
"""Files that stand in model folders and that loading a model or a tokenizer does not read."""
_KINDS = (
    ("chat_template*", "chat template"),
    ("additional_chat_templates/*", "chat template"),
    ("generation_config.json", "generation defaults"),
    ("adapter_*", "adapter"),
    ("config.json", "configuration"),
    *((f"*{end}", "weights") for end in (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5")),
    ("*.index.json", "weights"),
    ("*.py", "code"),
    ("*token*", "tokenizer"),
    *((f"{name}*", "tokenizer") for name in ("vocab", "merges", "special_", "added_", "spiece")),
)
"""Kinds of files, by the first pattern that the name matches."""


def kind_of(part: str) -> str:
    """Kind of a part of a model's content, in words; empty if the name is clear by itself."""
    name = part.rpartition(": ")[2]
    return next((kind for pattern, kind in _KINDS if fnmatch(name, pattern)), "")


def content_of_model(spec: ModelSpec) -> dict[str, str]:
    """{part: its SHA-256, or the commit of a name on the hub} of a model and what is added to it.

    Parts are files' names, those of an adapter after `adapter: `, those of the `model_args`
    subfolder, tokenizer and delta after these words. Raises InputError for a bundled model that is
    not here, or files that cannot be read.
    """
    location, args = model_at_hand(spec.name), spec.model_args
    parts = content_at(location, spec.revision)
    others = {name: args[name] for name in (TOKENIZER, "delta") if args.get(name)}
    if args.get("subfolder") and Path(location).is_dir():
        others["subfolder"] = str(Path(location) / args["subfolder"])
    for kind, place in others.items():
        file = TOKENIZER_CONFIG if kind == TOKENIZER else CONFIG
        content = content_at(str(place), spec.revision, file)
        parts |= {f"{kind}: {name}": value for name, value in content.items()}
    if spec.peft is not None:
        adapter = content_at(spec.peft, spec.revision, ADAPTER)
        parts |= {f"adapter: {name}": value for name, value in adapter.items()}
    return parts


def content_at(location: str, revision: str, file: str = CONFIG) -> dict[str, str]:
    """{part: its SHA-256, or the commit} of a folder, or of a name on the hub that has `file`."""
    folder = Path(location)
    if not folder.is_dir():
        return {COMMIT: commit_of(location, revision, file)}
    files = dict(files_of_model(folder))
    hashes = hashes_of(files.values())
    parts = {name: hashes[path] for name, path in files.items()}
    base = _base_of(folder)
    if base is not None:
        parts |= {f"base: {name}": value for name, value in content_at(base, "main").items()}
    return parts


def files_of_model(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of every file in `folder` that loading a model and its tokenizer may read."""
    names = {
        path.name
        for path in folder.iterdir()
        if not any(fnmatch(path.name, pattern) for pattern in _NOT_LOADED)
    }
    templates = folder.glob("additional_chat_templates/*")
    names.update(path.relative_to(folder).as_posix() for path in templates)
    names.update(_weights_by_reference(folder, names))
    for name in sorted(names):
        if (folder / name).is_file():
            yield name, folder / name


def _weights_by_reference(folder: Path, names: Set[str]) -> Iterator[str]:
    """Weight files that the configuration or an index names: they may lie in other folders and
    have any name. Shards are relative to `folder` wherever their index lies."""
    indexes = sorted(name for name in names if name.endswith(_INDEX))
    explicit = _values_of(folder / CONFIG).get("transformers_weights")
    if isinstance(explicit, str):
        yield explicit
        indexes += [explicit] if explicit.endswith(_INDEX) else []
    for index in indexes:
        shards = _values_of(folder / index).get("weight_map")
        if isinstance(shards, dict):
            yield from {shard for shard in shards.values() if isinstance(shard, str)}


def _values_of(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if the file is missing or holds no object."""
    try:
        values = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _base_of(folder: Path) -> str | None:
    """The model that an adapter's folder is loaded on top of where it is given as a model; None
    where both lie in one folder."""
    if not (folder / CONFIG).is_file():
        return None
    base = _values_of(folder / ADAPTER).get("base_model_name_or_path")
    if not isinstance(base, str) or not base or Path(base).resolve() == folder.resolve():
        return None
    return base


def commit_of(name: str, revision: str, file: str = CONFIG) -> str:
    """The commit on the hub, or in its cache, that `revision` of `name` is now.

    It comes with `file`, the way in which Transformers resolves a revision. Raises ModelError.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        path = huggingface_hub.hf_hub_download(name, file, revision=revision)
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise ModelError(
            f"the commit of {name} ({revision}) on the hub cannot be found: {first_line(error)}",
            "Give a folder, or make the hub reachable.",
        ) from error
    return Path(path).parent.name
