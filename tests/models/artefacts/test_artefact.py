"""Steerers on disk: the same bits back, damage is told, and nothing is unpickled."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from method_options import SMALL

from steereval.common.errors import ArtefactError, StoreError
from steereval.models import fit_steerer, load_steerer
from steereval.models.artefacts.artefact import Artefact, content_hash, load_artefact, save_artefact
from steereval.models.methods.registry import BUILT_IN as METHODS
from steereval.models.steering.hook_points import Site
from steereval.models.steering.steerer import Steerer
from steereval.models.testing import MethodCase, points, steer

METHOD_NAMES = sorted(METHODS.keys() - {"none", "vector"})


@pytest.fixture
def fit(gaussians: Any) -> Callable[..., Steerer]:
    def make(method: str = "odesteer", width: int = 12, seed: int = 0) -> Steerer:
        return fit_steerer(method, *gaussians(width), seed=seed, **SMALL.get(method, {}))

    return make


@pytest.fixture
def folder(tmp_path: Path, fit: Any) -> Path:
    """A saved steerer of one site."""
    save_artefact(Artefact({Site(3): fit()}, {"method": "odesteer", "seed": 0}), tmp_path / "kept")
    return tmp_path / "kept"


def assert_same(one: Steerer, other: Steerer) -> None:
    assert type(one) is type(other)
    assert one.settings() == other.settings()
    assert one.tensors().keys() == other.tensors().keys()
    for name, tensor in one.tensors().items():
        assert tensor.dtype == other.tensors()[name].dtype
        assert torch.equal(tensor, other.tensors()[name])


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_round_trip(tmp_path: Path, method: str) -> None:
    """Every method's steerers, on heads too, with what is nested in them."""
    case = MethodCase(METHODS[method], SMALL.get(method, {}))
    steerers = case.fit_all()
    save_artefact(Artefact(steerers, {"method": method}), tmp_path / "a" / "b")
    loaded = load_artefact(tmp_path / "a" / "b")
    assert loaded.card["method"] == method
    assert loaded.steerers.keys() == steerers.keys()
    for site, steerer in steerers.items():
        assert_same(loaded.steerers[site], steerer)
        x = points(1, 7)
        assert torch.equal(steer(loaded.steerers[site], x, 3.0), steer(steerer, x, 3.0))


def test_several_sites(tmp_path: Path, fit: Any) -> None:
    """Blocks, and heads of one of them, each with its own width and method."""
    steerers = {
        Site(1): fit("caa"),
        Site(1, 0): fit("caa", 6),
        Site(11): fit(),
        Site(1, 10): fit("caa", 5),
    }
    save_artefact(Artefact(steerers, {"contrast": "mine"}), tmp_path / "many")
    loaded = load_artefact(tmp_path / "many")
    assert loaded.steerers.keys() == steerers.keys()
    for site, steerer in steerers.items():
        assert_same(loaded.steerers[site], steerer)
    with pytest.raises(ArtefactError, match="steerers for 4 sites"):
        load_steerer(tmp_path / "many")


def test_without_a_steerer(tmp_path: Path) -> None:
    save_artefact(Artefact({}, {"method": "none"}), tmp_path / "none")
    assert load_artefact(tmp_path / "none").steerers == {}
    with pytest.raises(ArtefactError, match="steerers for 0 sites"):
        load_steerer(tmp_path / "none")


def test_an_older_steerer_is_replaced_whole(folder: Path, fit: Any) -> None:
    (folder / "left-behind").write_text("old")
    save_artefact(Artefact({Site(1): fit("caa")}, {}), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["steerer.json", "steerer.safetensors"]
    assert_same(load_steerer(folder), fit("caa"))
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_loaded_artefact_can_be_saved_again(folder: Path, tmp_path: Path) -> None:
    save_artefact(load_artefact(folder), tmp_path / "again")
    for name in ("steerer.json", "steerer.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_tensors(folder: Path, keep: int) -> None:
    file = folder / "steerer.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ArtefactError, match="hash is not the one"):
        load_steerer(folder)


@pytest.mark.parametrize("name", ["steerer.json", "steerer.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_changed_byte(folder: Path, name: str, share: float) -> None:
    content = bytearray((folder / name).read_bytes())
    digits = [
        i
        for i, byte in enumerate(content)
        if name.endswith("safetensors") or chr(byte) in "0123456789"
    ]
    place = digits[int(share * len(digits))]
    content[place] = content[place] + 1 if content[place] % 10 != 7 else content[place] - 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(ArtefactError):
        load_steerer(folder)


@pytest.mark.parametrize("name", ["steerer.json", "steerer.safetensors"])
def test_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtefactError, match=f"{name} cannot be read: No such file"):
        load_steerer(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"x"', "null", '{"a": 1}', "\xff"])
def test_card_that_is_none(folder: Path, text: str) -> None:
    (folder / "steerer.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ArtefactError):
        load_steerer(folder)


@pytest.mark.parametrize("version", [0, 1, 3, "2", None])
def test_unknown_version(folder: Path, version: Any) -> None:
    card = json.loads((folder / "steerer.json").read_text())
    (folder / "steerer.json").write_text(json.dumps(card | {"format_version": version}))
    with pytest.raises(ArtefactError, match=rf"format version {version!r}; this program reads 2"):
        load_steerer(folder)


@pytest.mark.parametrize(
    "sites",
    [
        None,
        [],
        {"3": {}},
        {"3": {"kind": "unheard"}},
        {"x": {"kind": "constant_shift"}},
        {"3": None},
    ],
)
def test_sites_that_make_no_steerers(folder: Path, sites: Any, monkeypatch: Any) -> None:
    """A card with a right hash, written by something else."""
    from steereval.models.artefacts import artefact

    card = json.loads((folder / "steerer.json").read_text()) | {"sites": sites}
    card["sha256"] = artefact.card_digest(card, (folder / "steerer.safetensors").read_bytes())
    (folder / "steerer.json").write_text(json.dumps(card))
    with pytest.raises(ArtefactError):
        load_steerer(folder)


def test_not_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"there is no steerer folder .*nowhere"):
        load_steerer(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtefactError, match="there is no steerer folder"):
        load_steerer(str(tmp_path / "file"))


def test_folder_that_cannot_be_written(tmp_path: Path, fit: Any) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"cannot be written to .*Not a directory"):
        save_artefact(Artefact({Site(0): fit("caa")}, {}), tmp_path / "file" / "inside")
    assert (tmp_path / "file").read_text() == "x"


def test_a_folder_that_is_not_a_steerer_is_not_replaced(tmp_path: Path, fit: Any) -> None:
    """A wrong `--out` must not delete somebody's folder."""
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("one")
    (tmp_path / "letter").write_text("dear")
    for name in ("thesis", "letter"):
        with pytest.raises(StoreError, match="exists and is not a steerer folder"):
            save_artefact(Artefact({Site(0): fit("caa")}, {}), tmp_path / name)
    assert (tmp_path / "thesis" / "chapter").read_text() == "one"
    assert (tmp_path / "letter").read_text() == "dear"
    (tmp_path / "empty").mkdir()
    save_artefact(Artefact({Site(0): fit("caa")}, {}), tmp_path / "empty")
    assert_same(load_steerer(tmp_path / "empty"), fit("caa"))


def test_nothing_is_left_when_writing_fails(folder: Path, fit: Any, monkeypatch: Any) -> None:
    """The old steerer stays, and no temporary folder."""
    from steereval.models.artefacts import artefact

    def full(path: Path, data: bytes) -> None:
        path.write_bytes(data[:10])
        raise OSError(28, "No space left on device")

    old = (folder / "steerer.json").read_bytes()
    monkeypatch.setattr(artefact, "write_durably", full)
    with pytest.raises(StoreError, match="No space left on device"):
        save_artefact(Artefact({Site(0): fit("caa")}, {}), folder)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert (folder / "steerer.json").read_bytes() == old


def test_the_folder_is_as_readable_as_others(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert folder.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_nothing_is_pickled(folder: Path, monkeypatch: Any) -> None:
    """A pickle in the tensors' place is refused unread, and loading needs no unpickler."""

    class Bomb:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("unpickled",))

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    load_steerer(folder)
    from steereval.models.artefacts import artefact

    blob = pickle.dumps(Bomb())
    card = json.loads((folder / "steerer.json").read_text())
    card["sha256"] = artefact.card_digest(card, blob)
    (folder / "steerer.json").write_text(json.dumps(card))
    (folder / "steerer.safetensors").write_bytes(blob)
    with pytest.raises(ArtefactError):
        load_steerer(folder)


def test_a_copy_is_a_steerer(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    assert_same(load_steerer(tmp_path / "copy"), load_steerer(folder))


def test_the_content_hash_is_of_all_bits_and_settings(fit: Any, tmp_path: Path) -> None:
    first, second = Artefact({Site(3): fit()}, {}), Artefact({Site(3): fit()}, {"seed": 3})
    known = content_hash(first.steerers)
    assert content_hash(second.steerers) == known  # cards say where it comes from, not what it is
    save_artefact(second, tmp_path / "kept")
    assert content_hash(load_artefact(tmp_path / "kept").steerers) == known
    steerer = fit()
    floats = {n: t for n, t in steerer.tensors().items() if t.is_floating_point() and "." not in n}
    (name, tensor), *_ = floats.items()
    nudged = replace(steerer, **{name: torch.nextafter(tensor, tensor + 1)})
    others = [{Site(3): nudged}, {Site(3): fit(seed=1)}, {Site(2): fit()}, {}]
    assert len({known, *map(content_hash, others)}) == 5


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_every_method_has_a_content_hash(method: str) -> None:
    case = MethodCase(METHODS[method], SMALL.get(method, {}))
    assert content_hash(case.fit_all()) == content_hash(case.fit_all())


def test_the_stored_name_of_the_median_norm(folder: Path) -> None:
    """Steerers of earlier versions load, and have the content hash that they had."""
    card = json.loads((folder / "steerer.json").read_text())
    (settings,) = card["sites"].values()
    (steerer,) = load_artefact(folder).steerers.values()
    assert settings["typical_norm"] == steerer.median_norm > 0
    assert "median_norm" not in settings
