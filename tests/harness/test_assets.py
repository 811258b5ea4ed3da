"""Downloads: checked, whole or not at all, repeatable, and clear when there is no network."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from pathlib import Path

import pytest

from steereval.common import folders
from steereval.common.errors import FetchError, InputError, UnknownNameError
from steereval.harness.assets import ASSETS, Asset, Package, fetch, resolve_model


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, and an empty cache."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("STEEREVAL_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def asset(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Asset:
    """An asset of one package, which lies in the folder."""
    wheel = wheels / "little_data-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("little_data/words.txt", "one two")
        archive.writestr("little_data/code.py", "raise SystemExit")
        archive.writestr("little_data-1.0.dist-info/METADATA", "Name: little-data\nVersion: 1.0\n")
        archive.writestr("little_data-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr("little_data-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    package = Package("little-data", "1.0", digest, 1, (r"little_data/.*\.txt",))
    little = Asset("little", "a test", "none", (package,), "data")
    monkeypatch.setitem(ASSETS, "little", little)
    return little


@pytest.mark.slow
def test_wanted_files_alone_are_taken_out(asset: Asset) -> None:
    said: list[str] = []
    folder = fetch("little", said.append)
    assert [p.name for p in folder.iterdir() if not p.name.startswith(".")] == ["words.txt"]
    assert (folder / "words.txt").read_text() == "one two"
    assert any("downloading little-data 1.0" in line for line in said)


@pytest.mark.slow
def test_a_second_fetch_downloads_nothing(asset: Asset, wheels: Path) -> None:
    fetch("little", print)
    for wheel in wheels.iterdir():
        wheel.unlink()
    assert fetch("little", print) == asset.folder


def test_another_hash_is_refused_and_leaves_nothing(
    asset: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = dataclasses.replace(asset.packages[0], sha256="0" * 64)
    monkeypatch.setitem(ASSETS, "little", dataclasses.replace(asset, packages=(package,)))
    with pytest.raises(FetchError, match="has the hash"):
        fetch("little", print)
    assert not asset.folder.exists()
    assert list(asset.folder.parent.glob("*")) == []


def test_without_a_network_the_error_names_the_package_and_the_remedy(
    asset: Asset, wheels: Path
) -> None:
    next(wheels.iterdir()).unlink()
    with pytest.raises(FetchError, match="cannot be downloaded") as caught:
        fetch("little", print)
    assert "PIP_FIND_LINKS" in str(caught.value)
    assert not asset.folder.exists()


@pytest.mark.slow
def test_an_interruption_leaves_nothing_that_looks_finished(
    asset: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folders, "replace_folder", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("little", print)
    assert not asset.folder.exists()
    assert list(asset.folder.parent.glob("*")) == []


@pytest.mark.slow
def test_a_damaged_asset_is_fetched_again(asset: Asset) -> None:
    folder = fetch("little", print)
    for damage in (Path.unlink, lambda path: path.write_text("one twO")):
        damage(folder / "words.txt")
        assert not asset.is_here
        said: list[str] = []
        assert fetch("little", said.append) == folder
        assert "damaged" in said[0]
        assert (folder / "words.txt").read_text() == "one two"


@pytest.mark.slow
def test_an_asset_of_other_packages_is_fetched_again(
    asset: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch("little", print)
    package = dataclasses.replace(asset.packages[0], members=(r"little_data/w.*",))
    other = dataclasses.replace(asset, packages=(package,))
    monkeypatch.setitem(ASSETS, "little", other)
    assert not other.is_here
    fetch("little", print)
    assert other.is_here


def test_an_asset_of_an_earlier_version_is_noted_as_it_is(asset: Asset) -> None:
    asset.folder.mkdir(parents=True)
    (asset.folder / "words.txt").write_text("as it was")
    assert fetch("little", print) == asset.folder
    assert asset.is_here
    (asset.folder / "words.txt").write_text("as it is")
    assert not asset.is_here


def test_terms_come_before_the_download(asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = dataclasses.replace(asset, terms=asset.packages[0], licence="Terms")
    monkeypatch.setitem(ASSETS, "little", strict)
    with pytest.raises(InputError, match="Terms of little were not accepted") as caught:
        fetch("little", print)
    assert "--accept-licence" in str(caught.value)
    assert not asset.folder.exists()


def test_a_broken_model_file_is_refused(asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    model = dataclasses.replace(asset, kind="model", gguf_sha256="1" * 64)
    monkeypatch.setitem(ASSETS, "little", model)
    with pytest.raises(FetchError, match="the GGUF file of little"):
        fetch("little", print)
    assert not model.folder.exists()


def test_names_are_checked() -> None:
    with pytest.raises(UnknownNameError, match="smollm2-135m"):
        fetch("smollm2-135", print)


def test_other_model_names_are_left_to_transformers() -> None:
    assert resolve_model("meta-llama/Llama-3.1-8B", print) == "meta-llama/Llama-3.1-8B"
