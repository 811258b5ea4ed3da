"""Directions from files: every format there and back, bad files told, lm-eval's own logits."""

from __future__ import annotations

import io
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from steereval.common.errors import ArtefactError, InputError, StoreError
from steereval.models.artefacts import artefact
from steereval.models.artefacts.export import export_steerers
from steereval.models.fitting.contrast_data import two_classes
from steereval.models.methods.ablate import Ablate
from steereval.models.methods.angular import Angular
from steereval.models.methods.caa import Caa
from steereval.models.methods.clamp import Clamp
from steereval.models.methods.constant_shift import ConstantShift
from steereval.models.methods.vector import Vector, read_vectors, steerers_from
from steereval.models.steering.forward_context import ForwardContext
from steereval.models.steering.hook_points import Site, find_blocks
from steereval.models.steering.hooks import steered
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.steerer import Steerer
from steereval.models.vectors.direction import Direction
from steereval.models.vectors.gguf_control_vector import read_gguf, write_gguf
from steereval.models.vectors.lm_eval_steered import read_steered, write_steered
from steereval.models.vectors.plain_tensors import read_plain, write_plain
from steereval.models.vectors.sae_decoder import read_feature

FILES = ("vectors.safetensors", "vectors.gguf", "vectors.pt", "sae.safetensors")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shift(vector: Tensor) -> ConstantShift:
    return ConstantShift(vector, dimension=len(vector))


def options(path: Path, **others: Any) -> Any:
    return Vector().options({"path": str(path), **others})


def entry(vector: Any, **others: Any) -> dict[str, Any]:
    """A hookpoint's value in a file of lm-eval's, as its documentation lists them."""
    usual = {"steering_coefficient": 1.0, "action": "add", "bias": None, "head_index": None}
    return {"steering_vector": vector, **usual, **others}


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a good file of any format, for layers 1 and 2 of width 6."""

    def write(name: str) -> Path:
        path, vectors = tmp_path / name, {Site(1): draw(6), Site(2): draw(6, seed=1)}
        if name == "sae.safetensors":
            save_file({"W_dec": draw(4, 6), "b_dec": draw(6, seed=1)}, path)
        elif path.suffix == ".pt":
            write_steered({site: Direction(vector) for site, vector in vectors.items()}, path)
        elif path.suffix == ".gguf":
            write_gguf(vectors, path)
        else:
            write_plain(vectors, path)
        return path

    return write


# --- there and back


FLOATS = st.floats(-1e6, 1e6, width=32).map(lambda x: x + 0.0)  # without negative zeros


def vectors_of(lowest_layer: int) -> st.SearchStrategy[dict[Site, Tensor]]:
    """Vectors of one width by site."""
    return st.integers(1, 9).flatmap(
        lambda width: st.dictionaries(
            st.integers(lowest_layer, 200).map(Site),
            st.lists(FLOATS, min_size=width, max_size=width).map(torch.tensor),
            min_size=1,
            max_size=5,
        )
    )


def assert_same_vectors(result: Mapping[Site, Direction], vectors: Mapping[Site, Tensor]) -> None:
    assert list(result) == sorted(vectors)
    for site, vector in vectors.items():
        assert result[site].vector.dtype == torch.float32
        assert torch.equal(result[site].vector, vector)
        assert (result[site].action, result[site].coefficient) == ("add", 1.0)
        assert result[site].bias is None


@given(vectors=vectors_of(0))
def test_plain_round_trip(tmp_path_factory: Any, vectors: dict[Site, Tensor]) -> None:
    path = tmp_path_factory.getbasetemp() / "round.safetensors"
    write_plain(vectors, path)
    assert set(load_file(path)) == {f"layer.{site.layer}" for site in vectors}
    assert_same_vectors(read_plain(path), vectors)


@given(vectors=vectors_of(1))
def test_gguf_round_trip(tmp_path_factory: Any, vectors: dict[Site, Tensor]) -> None:
    path = tmp_path_factory.getbasetemp() / "round.gguf"
    write_gguf(vectors, path)
    assert_same_vectors(read_gguf(path), vectors)


@given(vectors=vectors_of(0), coefficient=st.floats(-1e9, 1e9), biased=st.booleans())
def test_steered_round_trip(
    tmp_path_factory: Any, vectors: dict[Site, Tensor], coefficient: float, biased: bool
) -> None:
    """Clamps with and without a bias; the highest layer adds."""
    path = tmp_path_factory.getbasetemp() / "round.pt"
    directions = {
        site: Direction(_not_zero(vector), "clamp", coefficient, vector - 1 if biased else None)
        for site, vector in vectors.items()
    }
    top = max(vectors)
    directions[top] = Direction(vectors[top], "add", coefficient)
    write_steered(directions, path)
    result = read_steered(path)
    assert list(result) == sorted(vectors)
    for site, each in directions.items():
        assert (result[site].action, result[site].coefficient) == (each.action, coefficient)
        assert torch.equal(result[site].vector, each.vector)
        if each.bias is None:
            assert result[site].bias is None
        else:
            assert torch.equal(result[site].bias, each.bias)


def _not_zero(vector: Tensor) -> Tensor:
    """There is no clamping along zeros."""
    return vector if vector.any() else vector + 1


def test_all_usual_names_of_plain_tensors(tmp_path: Path) -> None:
    vectors = draw(4, 6)
    names = ["layer.0", "7", "layers.12", "model.layers.3"]
    save_file(dict(zip(names, vectors.unbind(), strict=True)), tmp_path / "a.safetensors")
    directions = read_plain(tmp_path / "a.safetensors")
    assert list(directions) == [Site(0), Site(3), Site(7), Site(12)]
    assert torch.equal(directions[Site(3)].vector, vectors[3])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_becomes_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    vector = draw(6).to(dtype)
    save_file({"layer.2": vector}, tmp_path / "a.safetensors")
    torch.save({"layers.2": entry(vector)}, tmp_path / "a.pt")
    for name in ("a.safetensors", "a.pt"):
        assert torch.equal(read_vectors(tmp_path / name)[Site(2)].vector, vector.float())


def test_a_gguf_file_has_the_keys_that_repeng_and_llama_cpp_read(tmp_path: Path) -> None:
    """As the gguf package itself reads it."""
    path = tmp_path / "a.gguf"
    export_steerers({Site(3): shift(draw(6)), Site(1): shift(draw(6, seed=1))}, path)
    reader = gguf.GGUFReader(path)
    values = {name: field.contents() for name, field in reader.fields.items() if "." in name}
    fields = {name: value for name, value in values.items() if not name.startswith("GGUF.")}
    assert fields == {
        "general.architecture": "controlvector",
        "controlvector.model_hint": "unknown",
        "controlvector.layer_count": 2,
    }
    assert [tensor.name for tensor in reader.tensors] == ["direction.1", "direction.3"]
    for tensor, vector in zip(reader.tensors, (draw(6, seed=1), draw(6)), strict=True):
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        assert np.array_equal(tensor.data, vector.numpy())
    write_gguf({Site(1): draw(6)}, path, "qwen2")
    assert gguf.GGUFReader(path).get_field("controlvector.model_hint").contents() == "qwen2"


def test_a_gguf_file_of_repengs_kind(tmp_path: Path) -> None:
    """float16 and layer 0 are read, as repeng reads them."""
    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(path, "controlvector")
    writer.add_string("controlvector.model_hint", "mistral")
    writer.add_uint32("controlvector.layer_count", 2)
    writer.add_tensor("direction.14", draw(5).half().numpy())
    writer.add_tensor("direction.0", draw(5, seed=1).numpy())
    write(writer)
    directions = read_vectors(path)
    assert list(directions) == [Site(0), Site(14)]
    assert torch.equal(directions[Site(14)].vector, draw(5).half().float())


def write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(
    "hookpoint",
    [
        "layers.3",
        "h.3",
        "decoder.layers.3",
        "model.layers.3",
        "language_model.layers.3",
        "blocks.3",
    ],
)
def test_hookpoints_of_blocks(tmp_path: Path, hookpoint: str) -> None:
    torch.save({hookpoint: entry(draw(6), steering_coefficient=2)}, tmp_path / "a.pt")
    directions = read_vectors(tmp_path / "a.pt")
    assert list(directions) == [Site(3)]
    assert directions[Site(3)].coefficient == 2.0


def test_only_vector_and_action_are_needed_in_a_steered_file(tmp_path: Path) -> None:
    """The rest has the defaults that lm-eval gives it."""
    torch.save({"h.0": {"steering_vector": draw(6), "action": "clamp"}}, tmp_path / "a.pth")
    direction = read_vectors(tmp_path / "a.pth")[Site(0)]
    assert (direction.action, direction.coefficient, direction.bias) == ("clamp", 1.0, None)


@pytest.mark.parametrize("biased", [True, False])
def test_a_feature_of_a_sparse_autoencoder(tmp_path: Path, biased: bool) -> None:
    path, tensors = tmp_path / "sae.safetensors", {"W_dec": draw(4, 6), "W_enc": draw(6, 4)}
    save_file(tensors | ({"b_dec": draw(6, seed=1)} if biased else {}), path)
    directions = read_vectors(path, feature=2, sites=[Site(5), Site(1)])
    assert set(directions) == {Site(1), Site(5)}
    for each in directions.values():
        assert torch.equal(each.vector, draw(4, 6)[2])
        assert torch.equal(each.bias, draw(6, seed=1)) if biased else each.bias is None


# --- files that cannot be used


def assert_names(error: Any, path: Path) -> None:
    """The message names the file and says what to do."""
    assert str(path) in error.value.problem
    assert len(error.value.remedy) > 10


@pytest.mark.parametrize("name", ["a.safetensors", "a.gguf", "a.pt", "a.pth"])
@pytest.mark.parametrize("content", [None, b"", b"hello world\n" * 20, b"\0" * 300, "folder"])
def test_no_such_file_or_anything_else(tmp_path: Path, name: str, content: Any) -> None:
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtefactError) as error:
        read_vectors(path)
    assert_names(error, path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("format", ["plain", "gguf", "steered", "sae"])
def test_a_file_of_another_format(written: Any, name: str, format: str) -> None:
    formats = {"vectors.safetensors": "plain", "vectors.gguf": "gguf", "vectors.pt": "steered"}
    path = written(name)
    feature = 1 if format == "sae" else None
    if formats.get(name, "sae") == format:
        assert read_vectors(path, format, feature, [Site(2)])[Site(2)].vector.shape == (6,)
        return
    with pytest.raises(ArtefactError) as error:
        read_vectors(path, format, feature, [Site(2)])
    assert_names(error, path)


@pytest.mark.parametrize("name", FILES)
def test_every_truncation_is_reported(written: Any, name: str) -> None:
    path = written(name)
    whole = path.read_bytes()
    padding = 8 if name == "vectors.gguf" else 0  # its last 8 bytes hold nothing
    for size in range(1, len(whole) - padding, 7):
        path.write_bytes(whole[:size])
        with pytest.raises(ArtefactError) as error:
            read_vectors(path, feature=1 if "sae" in name else None, sites=[Site(1)])
        assert_names(error, path)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_no_changed_byte_raises_anything_else(written: Any, name: str) -> None:
    """Damage gives other numbers or an error of ours, and never a hang."""
    path = written(name)
    whole, refused = path.read_bytes(), 0
    for place in range(0, len(whole), max(1, len(whole) // 400)):
        content = bytearray(whole)
        content[place] ^= 0xFF
        path.write_bytes(bytes(content))
        try:
            read_vectors(path, feature=1 if "sae" in name else None, sites=[Site(1)])
        except InputError as error:
            refused += str(path) in error.problem
    assert refused > 20


def test_a_length_beyond_the_file_ends_at_once(tmp_path: Path) -> None:
    """An array of 2^60 numbers in a file of a few bytes."""
    text = b"controlvector.list"
    head = b"GGUF" + np.uint32(3).tobytes() + np.array([0, 1], np.uint64).tobytes()
    key = np.uint64(len(text)).tobytes() + text
    value = np.array([9, 4], np.uint32).tobytes() + np.uint64(2**60).tobytes()
    path = tmp_path / "a.gguf"
    path.write_bytes(head + key + value + b"\1" * 64)
    with pytest.raises(ArtefactError, match="it ends too early"):
        read_gguf(path)


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("legacy", [True, False])
def test_nothing_is_unpickled(tmp_path: Path, legacy: bool) -> None:
    """Neither from a torch file nor from a bare pickle, and code in it does not run."""
    path, ran = tmp_path / "a.pt", tmp_path / "ran"
    content = {"layers.0": entry(draw(6), bias=Touch(str(ran)))}
    if legacy:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(ArtefactError, match="more than tensors and plain values") as error:
        read_vectors(path)
    assert_names(error, path)
    assert "weights_only" not in str(error.value)
    assert not ran.exists()
    if not legacy:  # the file does hold that code
        torch.load(path, weights_only=False)
        assert ran.is_dir()


NAN = torch.tensor([1.0, torch.nan])
FOREIGN: dict[str, tuple[Any, str]] = {
    "a list": ([1, 2], "0 is a int, not a tensor"),
    "empty": ({}, "holds a dict, not tensors by layer"),
    "a number": (3, "holds a int, not tensors by layer"),
    "a vector next to a hookpoint": (
        {"layers.0": draw(3), "layers.1": entry(draw(3))},
        "layers.0 is Tensor, not a dict",
    ),
    "a state dict": ({"model.norm.weight": draw(3)}, "'model.norm.weight' is not named"),
    "a head": ({"layers.0": entry(draw(3), head_index=2)}, "has head_index 2"),
    "the first head": ({"layers.0": entry(draw(3), head_index=0)}, "has head_index 0"),
    "no vector": ({"layers.0": entry(None)}, "steering_vector is NoneType"),
    "whole numbers": ({"layers.0": entry(torch.tensor([1, 2]))}, "is torch.int64"),
    "a matrix": ({"layers.0": entry(draw(3, 4))}, r"has shape \(3, 4\)"),
    "no entry": ({"layers.0": entry(torch.empty(0))}, r"has shape \(0,\)"),
    "not finite": ({"layers.0": entry(NAN)}, "not finite"),
    "too large": ({"layers.0": entry(torch.full((2,), 1e300, dtype=torch.float64))}, "not finite"),
    "sparse": ({"layers.0": entry(draw(3).to_sparse())}, "sparse_coo tensor"),
    "meta": ({"layers.0": entry(torch.empty(3, device="meta"))}, "on meta"),
    "no action": ({"layers.0": {"steering_vector": draw(3)}}, "has action None"),
    "another action": ({"layers.0": entry(draw(3), action="mul")}, "has action 'mul'"),
    "a list as action": ({"layers.0": entry(draw(3), action=["add"])}, "has action"),
    "add with bias": ({"layers.0": entry(draw(3), bias=draw(3))}, "adds and has a bias"),
    "a longer bias": (
        {"layers.0": entry(draw(3), action="clamp", bias=draw(4))},
        "has 3 entries, its bias 4",
    ),
    "no number": ({"layers.0": entry(draw(3), steering_coefficient="x")}, "coefficient 'x'"),
    "infinite": ({"layers.0": entry(draw(3), steering_coefficient=1e999)}, "coefficient inf"),
    "several": ({"layers.0": entry(draw(3), steering_coefficient=draw(2))}, "coefficient tensor"),
    "clamped zeros": ({"h.0": entry(torch.zeros(3), action="clamp")}, "along a vector of zeros"),
    "one block twice": (
        {"layers.0": entry(draw(3)), "model.layers.0": entry(draw(3))},
        "two hookpoints are block 0",
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_steered_files(tmp_path: Path, case: str) -> None:
    content, message = FOREIGN[case]
    path = tmp_path / "a.pt"
    torch.save(content, path)
    with pytest.raises(ArtefactError, match=message) as error:
        read_vectors(path)
    assert_names(error, path)


@pytest.mark.parametrize(
    "hookpoint",
    [
        3,
        "",
        "3",
        "layers",
        "layers.-1",
        "layers.x",
        "layers.3.mlp",
        "vision_tower.layers.3",
        "blocks.3.hook_resid_post",
        "layers.3 ",
        "layers.²",
        "xlayers.3",
        "layers.3\n",
    ],
)
def test_unknown_hookpoints(tmp_path: Path, hookpoint: Any) -> None:
    torch.save({hookpoint: entry(draw(3))}, tmp_path / "a.pt")
    with pytest.raises(ArtefactError, match="is not the output of a block"):
        read_vectors(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"model.embed_tokens.weight": draw(3)}, "not named like layer.14"),
        ({"layer.-1": draw(3)}, "not named like layer.14"),
        ({"layer.1": draw(3), "layers.1": draw(3)}, "two tensors are named after layer 1"),
        ({"layer.1": draw(2, 3)}, r"has shape \(2, 3\)"),
        ({"layer.1": torch.tensor([1, 2])}, "is torch.int64"),
        ({"layer.1": NAN}, "not finite"),
        ({}, "holds no tensors"),
    ],
)
def test_foreign_plain_files(tmp_path: Path, tensors: dict[str, Tensor], message: str) -> None:
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(ArtefactError, match=message) as error:
        read_vectors(tmp_path / "a.safetensors")
    assert_names(error, tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("architecture", "name", "values", "message"),
    [
        ("llama", "direction.1", draw(3).numpy(), "of architecture 'llama'"),
        ("controlvector", "token_embd", draw(3).numpy(), "'token_embd' is not named"),
        ("controlvector", "direction.x", draw(3).numpy(), "'direction.x' is not named"),
        ("controlvector", "direction.1", draw(2, 3).numpy(), r"has shape \(2, 3\)"),
        ("controlvector", "direction.1", np.array([1, 2], np.int32), "is I32, not one of F32"),
        ("controlvector", "direction.1", NAN.numpy(), "not finite"),
        ("controlvector", None, None, "holds no directions"),
    ],
)
def test_foreign_gguf_files(
    tmp_path: Path, architecture: str, name: str | None, values: Any, message: str
) -> None:
    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(path, architecture)
    if name is not None:
        writer.add_tensor(name, values)
    write(writer)
    with pytest.raises(ArtefactError, match=message) as error:
        read_vectors(path)
    assert_names(error, path)


@pytest.mark.parametrize("feature", [None, -1, 4, 10**30])
def test_features_that_are_not_there(written: Any, feature: int | None) -> None:
    with pytest.raises(InputError, match="from 0 to 3"):
        read_feature(written("sae.safetensors"), feature)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"W_dec": draw(6)}, r"has shape \(6,\), not \[features, d\]"),
        ({"W_dec": draw(4, 6), "b_dec": draw(4)}, "does not go with b_dec"),
        ({"W_dec": draw(4, 6), "b_dec": NAN}, "b_dec has entries that are not finite"),
        ({"W_dec": torch.ones(4, 6).long()}, "is torch.int64"),
    ],
)
def test_foreign_autoencoders(tmp_path: Path, tensors: dict[str, Tensor], message: str) -> None:
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(ArtefactError, match=message):
        read_vectors(tmp_path / "a.safetensors", feature=1, sites=[Site(0)])


def test_options_that_do_not_fit_the_file(written: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not say where it belongs"):
        read_vectors(written("sae.safetensors"), feature=1)
    with pytest.raises(InputError, match="is not a sparse autoencoder"):
        read_vectors(written("vectors.gguf"), feature=1)
    with pytest.raises(InputError, match="does not say which format"):
        read_vectors(tmp_path / "vectors.bin")
    with pytest.raises(InputError, match="Did you mean 'gguf'"):
        read_vectors(written("vectors.gguf"), format="ggufs")
    with pytest.raises(InputError, match="says itself whether it adds or clamps"):
        Vector().from_file([Site(1)], options(written("vectors.pt"), action="clamp"))


# --- the steerers


@given(
    strength=st.floats(-3, 3),
    value=st.floats(-50, 50),
    biased=st.booleans(),
    seed=st.integers(0, 99),
)
def test_clamp(strength: float, value: float, biased: bool, seed: int) -> None:
    """The component along r goes to v by the share T; what is across r stays."""
    x = draw(5, 7, seed=seed).double()
    bias = draw(7, seed=seed + 2) if biased else None
    clamp = Clamp.along(draw(7, seed=seed + 1), value, bias)
    r = clamp.direction.double()
    from_bias = x - bias if bias is not None else x
    before = from_bias @ r
    y = clamp(x, strength)
    after = (y - (bias if bias is not None else 0)) @ r
    assert torch.allclose(after, before + strength * (value - before), atol=2e-5)
    across = torch.eye(7, dtype=torch.float64) - r[:, None] * r
    assert torch.allclose(y @ across, x @ across, atol=1e-4)
    assert torch.equal(clamp(x, 0.0), x)


def test_a_clamp_has_a_unit_direction_and_no_relative_strength() -> None:
    clamp = Clamp.along(torch.tensor([3.0, 4.0]), 2.0, median_norm=5.0)
    assert torch.allclose(clamp.direction, torch.tensor([0.6, 0.8]))
    assert torch.allclose(clamp(torch.tensor([1.0, 2.0]), 1.0), torch.tensor([0.88, 1.84]))
    assert clamp.shift(1.0) is None
    with pytest.raises(InputError, match="no relative strengths"):
        clamp.absolute_strength(1.0, "relative")
    with pytest.raises(InputError, match="no direction to clamp along"):
        Clamp.along(torch.zeros(3), 1.0)
    with pytest.raises(InputError, match="dimension 3"):
        clamp(torch.zeros(3), 1.0)


@pytest.mark.parametrize("bias", [None, draw(6, seed=3)])
def test_a_clamp_in_an_artefact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bias: Tensor | None
) -> None:
    """An absent bias is a tensor too, and comes back as one."""
    kinds = {kind.method: kind for kind in Vector.kinds}
    monkeypatch.setattr(artefact, "steerer_kinds", lambda: kinds)
    clamp = Clamp.along(draw(6), 1.5, bias, median_norm=3.0)
    artefact.save_artefact(artefact.Artefact({Site(4): clamp}, {}), tmp_path / "kept")
    loaded = artefact.load_steerer(tmp_path / "kept")
    assert loaded.settings() == clamp.settings()
    assert torch.equal(loaded(draw(3, 6), 0.7), clamp(draw(3, 6), 0.7))


# --- the method


def test_options_of_the_method() -> None:
    with pytest.raises(InputError, match=r"path is missing: name a \.safetensors"):
        Vector().options({})
    with pytest.raises(InputError, match="set action to clamp"):
        Vector().options({"path": "a.gguf", "value": 3})
    with pytest.raises(InputError, match="Did you mean 'clamp'"):
        Vector().options({"path": "a.gguf", "action": "clam"})
    parsed = Vector().options({"path": "a.gguf", "feature": "7", "normalize": "true"})
    assert (parsed.feature, parsed.normalize, parsed.format) == (7, True, "auto")
    assert Vector().files(parsed) == (Path("a.gguf"),)
    assert Vector().reduced({"path": "a.gguf"}) == {}
    assert Vector.fits is False


def test_only_the_wanted_layers_that_the_file_has(written: Any) -> None:
    path = written("vectors.gguf")
    steerers = Vector().from_file([Site(2), Site(9)], options(path))
    assert list(steerers) == [Site(2)]
    assert torch.equal(steerers[Site(2)](torch.zeros(6), 2.0), 2 * draw(6, seed=1))
    assert steerers[Site(2)].median_norm == 0.0
    with pytest.raises(InputError, match=r"at layers 0, 9\. It has directions for layers 1, 2\."):
        Vector().from_file([Site(0), Site(9)], options(path))


def test_layers_of_zeros_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_plain({Site(0): torch.zeros(3), Site(1): draw(3)}, path)
    for others in ({}, {"action": "clamp"}, {"normalize": True}):
        assert list(Vector().from_file([Site(0), Site(1)], options(path, **others))) == [Site(1)]
    with pytest.raises(InputError, match="has directions for layers 1"):
        Vector().from_file([Site(0)], options(path))
    write_plain({Site(0): torch.zeros(3)}, path)
    with pytest.raises(InputError, match="All of it is zero"):
        Vector().from_file([Site(0)], options(path))


def test_normalize_and_clamp(written: Any) -> None:
    path, x = written("vectors.safetensors"), draw(4, 6, seed=9)
    unit = draw(6) / draw(6).norm()
    added = Vector().from_file([Site(1)], options(path, normalize=True))[Site(1)]
    assert torch.allclose(added(x, 3.0), x + 3 * unit, atol=1e-6)
    clamped = Vector().from_file([Site(1)], options(path, action="clamp", value=5))[Site(1)]
    assert torch.allclose(clamped(x, 1.0) @ unit, torch.full((4,), 5.0), atol=1e-5)


def test_a_feature_is_clamped_from_its_origin(written: Any) -> None:
    """At all sites asked for, since the file names none."""
    path, x = written("sae.safetensors"), draw(4, 6, seed=9)
    clamp_options = options(path, feature=3, action="clamp", value=-2)
    steerers = Vector().from_file([Site(0), Site(7)], clamp_options)
    assert list(steerers) == [Site(0), Site(7)]
    row = draw(4, 6)[3]
    moved = steerers[Site(7)](x, 1.0)
    measured = (moved - draw(6, seed=1)) @ row / row.norm()
    assert torch.allclose(measured, torch.full((4,), -2.0), atol=1e-5)
    added = Vector().from_file([Site(0)], options(path, feature=3))[Site(0)]
    assert torch.allclose(added(x, 1.0), x + row)


def test_a_steered_file_brings_its_own_coefficients(tmp_path: Path) -> None:
    path, x = tmp_path / "a.pt", draw(4, 6, seed=9)
    clamp = entry(draw(6, seed=1), action="clamp", steering_coefficient=3.0)
    torch.save({"h.0": entry(draw(6), steering_coefficient=4.0), "h.1": clamp}, path)
    steerers = Vector().from_file([Site(0), Site(1)], options(path))
    assert torch.allclose(steerers[Site(0)](x, 1.0), x + 4 * draw(6))
    unit = draw(6, seed=1) / draw(6, seed=1).norm()
    assert torch.allclose(steerers[Site(1)](x, 1.0) @ unit, torch.full((4,), 3.0), atol=1e-5)


def test_with_data_the_median_norm_is_known(written: Any, gaussians: Any) -> None:
    path, (positive, negative) = written("vectors.pt"), gaussians(6)
    data = two_classes(positive, negative, Site(1))
    steerer = Vector().fit(data, options(path), 0)[Site(1)]
    norms = torch.cat([positive, negative]).norm(dim=1)
    assert steerer.median_norm == pytest.approx(float(norms.median()), rel=1e-6)
    strength = steerer.absolute_strength(1.0, "relative")
    moved = steerer(torch.zeros(6), strength)
    assert float(moved.norm()) == pytest.approx(steerer.median_norm, rel=1e-5)
    with pytest.raises(InputError, match="dimension 5"):
        Vector().fit(two_classes(*gaussians(5), Site(1)), options(path), 0)


# --- exports


@pytest.mark.parametrize("name", ["a.safetensors", "a.gguf", "a.pt", "a.pth"])
def test_a_fitted_steerer_is_exported_and_read_back(
    tmp_path: Path, gaussians: Any, name: str
) -> None:
    data = two_classes(*gaussians(6), Site(5))
    fitted = Caa().fit(data, Caa().options({}), 0)
    export_steerers(fitted, tmp_path / "new" / name)
    back = Vector().from_file([Site(5)], options(tmp_path / "new" / name))
    x = draw(4, 6)
    assert torch.equal(back[Site(5)](x, 2.5), fitted[Site(5)](x, 2.5))
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]


def test_a_clamp_is_exported_to_lm_eval_alone(tmp_path: Path) -> None:
    clamps: dict[Site, Steerer] = {
        Site(2): Clamp.along(draw(6), 3.0, draw(6, seed=1)),
        Site(4): Clamp.along(draw(6), -1.0),
    }
    export_steerers(clamps, tmp_path / "a.pt", blocks="h")
    assert set(torch.load(tmp_path / "a.pt", weights_only=True)) == {"h.2", "h.4"}
    back = Vector().from_file([Site(2), Site(4)], options(tmp_path / "a.pt"))
    for site in clamps:
        assert torch.allclose(back[site](draw(4, 6), 1.0), clamps[site](draw(4, 6), 1.0))
    for name in ("a.gguf", "a.safetensors"):
        with pytest.raises(InputError, match="clamp at layer 2 is not an added vector"):
            export_steerers(clamps, tmp_path / name)
        assert not (tmp_path / name).exists()


def test_an_ablation_is_exported_as_a_clamp_to_zero(tmp_path: Path, gaussians: Any) -> None:
    ablations = Ablate().fit(two_classes(*gaussians(6), Site(1)), Ablate().options({}), 0)
    export_steerers(ablations, tmp_path / "a.pt")
    back = Vector().from_file([Site(1)], options(tmp_path / "a.pt"))[Site(1)]
    x = draw(4, 6)
    assert torch.allclose(back(x, 1.0), ablations[Site(1)](x, 1.0), atol=1e-6)


def test_what_cannot_be_exported(tmp_path: Path, gaussians: Any) -> None:
    data = two_classes(*gaussians(6), Site(1))
    turned = Angular().fit(data, Angular().options({}), 0)
    with pytest.raises(InputError, match=r"of kind .* \(layer 1\).*ablations can be exported"):
        export_steerers(turned, tmp_path / "a.pt")
    with pytest.raises(InputError, match="acts on one attention head"):
        export_steerers({Site(1, 3): shift(draw(6))}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="no steerer to export"):
        export_steerers({}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="layer 0 cannot be written"):
        export_steerers({Site(0): shift(draw(6))}, tmp_path / "a.gguf")
    with pytest.raises(InputError, match="unknown export format 'sae'"):
        export_steerers({Site(1): shift(draw(6))}, tmp_path / "a.pt", "sae")
    with pytest.raises(InputError, match="does not say which format"):
        export_steerers({Site(1): shift(draw(6))}, tmp_path / "a")
    with pytest.raises(InputError, match=r"End it in \.pt or \.pth"):
        export_steerers({Site(1): shift(draw(6))}, tmp_path / "a.bin", "steered")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.safetensors", "a.gguf", "a.pt"])
def test_a_file_appears_whole_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What was there before is kept when the disk is full, and nothing is left over."""
    path = tmp_path / name
    export_steerers({Site(1): shift(draw(6))}, path)
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        export_steerers({Site(1): shift(draw(6, seed=1))}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    export_steerers({Site(1): shift(draw(6, seed=1))}, path)
    assert torch.equal(read_vectors(path)[Site(1)].vector, draw(6, seed=1))


@pytest.mark.parametrize("name", ["a.safetensors", "a.gguf", "a.pt"])
def test_places_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / name).mkdir()
    for path in (tmp_path / "file" / name, tmp_path / name):
        with pytest.raises(StoreError, match="cannot be written"):
            export_steerers({Site(1): shift(draw(6))}, path)
    assert {path.name for path in tmp_path.iterdir()} == {"file", name}


# --- the same logits as lm-eval


def through_lm_eval(model: Any, tokenizer: Any, path: Path, ids: Tensor) -> Tensor:
    """Logits [rows, length, vocabulary] of lm-eval's SteeredModel."""
    from lm_eval.models.hf_steered import SteeredModel

    theirs = SteeredModel(
        model, str(path), device="cpu", tokenizer=tokenizer, backend="causal", batch_size=2
    )
    return theirs._model_call(ids)


def through_ours(model: Any, path: Path, ids: Tensor) -> Tensor:
    """Logits with every token steered at strength 1."""
    sites = [Site(layer) for layer in range(len(find_blocks(model)))]
    steerers = Vector().from_file(sites, options(path))
    with (
        steered(model, [Intervention(steerers, 1.0)]) as session,
        session.on(ForwardContext(torch.zeros_like(ids))),
        torch.no_grad(),
    ):
        return model(input_ids=ids).logits


def steered_files(width: int, layers: tuple[int, int], scale: float) -> dict[str, dict[int, Any]]:
    """Contents by block: add, clamp, clamp with a bias, and both at once."""
    low, high = layers
    add = entry(scale * draw(width), steering_coefficient=0.7)
    clamp = entry(scale * draw(width, seed=1), action="clamp", steering_coefficient=3 * scale)
    biased = {**clamp, "bias": scale * draw(width, seed=2)}
    return {"add": {low: add}, "clamp": {low: clamp}, "bias": {high: biased},
            "both": {low: biased, high: add}}  # fmt: skip


def assert_parity(model: Any, tokenizer: Any, path: Path, ids: Tensor, bound: float) -> None:
    with torch.no_grad():
        plain = model(input_ids=ids).logits
        theirs = through_lm_eval(model, tokenizer, path, ids)
    difference = float((through_ours(model, path, ids) - theirs).abs().max())
    print(f"{path.name}: largest logit difference {difference:.1e}")
    assert float((theirs - plain).abs().max()) > 0.1, "lm-eval steered nothing"
    assert difference < bound


def words() -> Any:
    """A tokenizer for the tiny models; lm-eval wants one."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    known = {f"w{index}": index for index in range(211)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(known, unk_token="w3")),
        pad_token="w0",
        bos_token="w1",
        eos_token="w2",
        unk_token="w3",
    )


@pytest.mark.parametrize("case", ["add", "clamp", "bias", "both"])
@pytest.mark.parametrize(("architecture", "blocks"), [("llama", "layers"), ("gpt2", "h")])
def test_same_logits_as_lm_eval(
    tiny: Any, tmp_path: Path, count_hooks: Any, architecture: str, blocks: str, case: str
) -> None:
    model, path = tiny(architecture), tmp_path / f"{architecture}-{case}.pt"
    content = steered_files(32, (0, 2), 1.0)[case]
    torch.save({f"{blocks}.{layer}": each for layer, each in content.items()}, path)
    ids = torch.tensor([[5, 6, 7, 8, 9], [15, 16, 17, 18, 19]])
    assert_parity(model, words(), path, ids, 1e-5)
    assert count_hooks(model) == 0


@pytest.mark.real
@pytest.mark.parametrize("case", ["add", "clamp", "bias", "both"])
def test_same_logits_as_lm_eval_on_a_real_model(smollm2: Any, tmp_path: Path, case: str) -> None:
    model, tokenizer = smollm2
    path = tmp_path / f"smollm2-{case}.pt"
    content = steered_files(576, (10, 20), 1.0)[case]
    torch.save({f"layers.{layer}": each for layer, each in content.items()}, path)
    ids = tokenizer("Steering moves the states of a model.", return_tensors="pt").input_ids
    assert_parity(model, tokenizer, path, ids, 1e-3)


def test_lm_eval_reads_what_we_export(tiny: Any, tmp_path: Path) -> None:
    model, path = tiny("llama"), tmp_path / "ours.pt"
    steerers = {
        Site(0): shift(draw(32)),
        Site(2): Clamp.along(draw(32, seed=1), 4.0, draw(32, seed=2)),
    }
    export_steerers(steerers, path)
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    assert_parity(model, words(), path, ids, 1e-5)


def test_steerers_from_directions() -> None:
    steerers = steerers_from(
        {
            Site(0): Direction(draw(4), "add", 2.0),
            Site(1): Direction(draw(4), "add", 0.0),
            Site(2): Direction(draw(4), "clamp", 0.0),
        }
    )
    assert list(steerers) == [Site(0), Site(2)]
    assert isinstance(steerers[Site(2)], Clamp)
    assert torch.equal(steerers[Site(0)].shift(1.0), 2 * draw(4))


# --- vectors as people have them


VECTORS = {1: draw(6), 3: draw(6, seed=1)}
MATRIX = draw(4, 6)


def as_numpy(tensors: Mapping[Any, Tensor]) -> dict[str, Any]:
    return {str(name): tensor.numpy() for name, tensor in tensors.items()}


WRITERS: dict[str, tuple[Callable[[Path], Any], dict[str, Any], dict[int, Tensor]]] = {
    "bare.pt": (lambda p: torch.save(draw(6), p), {}, {2: draw(6)}),
    "bare row.pt": (lambda p: torch.save(draw(1, 6), p), {}, {2: draw(1, 6)[0]}),
    "half.pt": (lambda p: torch.save(draw(6).half(), p), {}, {2: draw(6).half().float()}),
    "parameter.pt": (lambda p: torch.save(torch.nn.Parameter(draw(6)), p), {}, {2: draw(6)}),
    "matrix.pt": (lambda p: torch.save(MATRIX, p), {}, dict(enumerate(MATRIX))),
    "list.pt": (lambda p: torch.save(list(MATRIX), p), {}, dict(enumerate(MATRIX))),
    "by layer.pt": (lambda p: torch.save(VECTORS, p), {}, VECTORS),
    "by row.pt": (lambda p: torch.save({1: draw(1, 6)}, p), {}, {1: draw(1, 6)[0]}),
    "named.pth": (
        lambda p: torch.save({"model.layers.1": draw(6)}, p), {}, {1: draw(6)},
    ),
    "vector.npy": (lambda p: np.save(p, draw(6).numpy()), {}, {2: draw(6)}),
    "matrix.npy": (lambda p: np.save(p, MATRIX.numpy()), {}, dict(enumerate(MATRIX))),
    "big-endian.npy": (lambda p: np.save(p, draw(6).numpy().astype(">f4")), {}, {2: draw(6)}),
    "by layer.npz": (lambda p: np.savez(p, **as_numpy(VECTORS)), {}, VECTORS),
    "compressed.npz": (lambda p: np.savez_compressed(p, **as_numpy(VECTORS)), {}, VECTORS),
    "keyed.npz": (
        lambda p: np.savez(p, **{"blk.1.dir": draw(6).numpy(), "scale": np.ones(1)}),
        {"key": "blk.{layer}.dir"}, {1: draw(6)},
    ),
    "keyed.safetensors": (
        lambda p: save_file({"h.1.v": draw(6), "h.3.v": draw(6, seed=1), "norm": draw(2)}, p),
        {"key": "h.{layer}.v"}, VECTORS,
    ),
    "one.safetensors": (
        lambda p: save_file({"refusal": draw(6), "other": draw(2)}, p),
        {"key": "refusal"}, {2: draw(6)},
    ),
    "stack.safetensors": (
        lambda p: save_file({"directions": MATRIX}, p), {"key": "directions"},
        dict(enumerate(MATRIX)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_as_people_have_it(tmp_path: Path, name: str) -> None:
    write, given, expected = WRITERS[name]
    write(tmp_path / name)
    directions = read_vectors(tmp_path / name, sites=[Site(2)], **given)
    assert directions.keys() == {Site(layer) for layer in expected}
    for layer, vector in expected.items():
        assert torch.equal(directions[Site(layer)].vector, vector)


@pytest.mark.parametrize("kind", ["BF16", "Q8_0", "F16"])
def test_a_control_vector_of_another_precision(tmp_path: Path, kind: str) -> None:
    vector = draw(64)
    quantised = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    writer.add_tensor(
        "direction.3", gguf.quants.quantize(vector.numpy(), quantised), raw_dtype=quantised
    )
    write(writer)
    (direction,) = read_vectors(tmp_path / "a.gguf").values()
    assert torch.allclose(direction.vector, vector, atol=0.03)


def test_unknown_metadata_of_a_control_vector_is_named(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "controlvector")
    writer.add_float32("controlvector.scale", 2.0)
    writer.add_tensor("direction.3", draw(4).numpy())
    write(writer)
    with pytest.raises(ArtefactError, match=r"controlvector\.scale"):
        read_vectors(tmp_path / "a.gguf")


@pytest.mark.parametrize("name", ["a.safetensors", "a.npz", "a.pt"])
def test_a_refusal_says_what_the_file_holds_and_how_to_convert_it(
    tmp_path: Path, name: str
) -> None:
    tensors = {"refusal_dir": draw(6), "scale": draw(2)}
    writers: dict[str, Callable[[Path], Any]] = {
        "a.safetensors": lambda p: save_file(tensors, p),
        "a.npz": lambda p: np.savez(p, **as_numpy(tensors)),
        "a.pt": lambda p: torch.save(tensors, p),
    }
    writers[name](tmp_path / name)
    with pytest.raises(ArtefactError) as caught:
        read_vectors(tmp_path / name, sites=[Site(2)])
    for words in ("refusal_dir [6] float32", "key", "save_file"):
        assert words in str(caught.value)
    with pytest.raises(ArtefactError) as caught:
        read_vectors(tmp_path / name, sites=[Site(2)], key="direction")
    assert "scale [2] float32" in str(caught.value)


def test_a_vector_without_a_layer_needs_one(tmp_path: Path) -> None:
    torch.save(draw(6), tmp_path / "a.pt")
    with pytest.raises(InputError, match="which layer"):
        read_vectors(tmp_path / "a.pt")


def test_a_key_is_for_plain_tensors(written: Any) -> None:
    with pytest.raises(InputError, match="key"):
        read_vectors(written("vectors.gguf"), key="x")


def test_a_small_file_takes_little_memory(tmp_path: Path) -> None:
    """An expanded tensor of a few bytes, and zip files that expand a thousandfold."""
    torch.save({1: torch.zeros(1).expand(1 << 33)}, tmp_path / "expanded.pt")
    np.savez_compressed(tmp_path / "zeros.npz", **{"1": np.zeros(1 << 24, np.float32)})
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (8589934592,), }"
    header += b" " * (117 - len(header)) + b"\n"
    (tmp_path / "claims.npy").write_bytes(b"\x93NUMPY\x01\x00" + bytes([118, 0]) + header)
    for name in ("expanded.pt", "zeros.npz", "claims.npy"):
        path = tmp_path / name
        assert path.stat().st_size < 200_000
        with pytest.raises(ArtefactError) as caught:
            read_vectors(path, sites=[Site(1)])
        assert_names(caught, path)


def _safetensors_of(name: str, dtype: str, size: int) -> bytes:
    """A file of one tensor of 8 entries, whose data are ones."""
    entry = {"dtype": dtype, "shape": [8], "data_offsets": [0, size]}
    header = json.dumps({name: entry}).encode()
    return len(header).to_bytes(8, "little") + header + bytes([1]) * size


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (_safetensors_of("layer.1", "F4", 4), "float32"),
        (_safetensors_of("layer." + "9" * 5000, "F32", 32), "not named"),
    ],
)
def test_safetensors_of_odd_types_and_names(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "v.safetensors").write_bytes(data)
    with pytest.raises(ArtefactError, match=words):
        read_vectors(tmp_path / "v.safetensors")


def test_one_layer_given_twice_is_refused(tmp_path: Path) -> None:
    """Neither of the vectors is dropped without a word."""
    torch.save({1: torch.ones(8), "1": torch.zeros(8)}, tmp_path / "v.pt")
    array = io.BytesIO()
    np.save(array, np.ones(8, dtype=np.float32))
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "v.npz", "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("1.npy", array.getvalue())
        archive.writestr("1.npy", array.getvalue())
    for name in ("v.pt", "v.npz"):
        with pytest.raises(ArtefactError, match="two"):
            read_vectors(tmp_path / name)
