from importlib.util import find_spec
from pathlib import Path

import pytest
from fakes.stores import LetterEmbeddings
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_qdrant import QdrantVectorStore

from rag.errors import RagError
from rag.langchain.vector_store import RECIPES, open_vector_store


@pytest.mark.parametrize(
    ("factory", "options", "kind"),
    [
        ("langchain_core.vectorstores:InMemoryVectorStore", {}, InMemoryVectorStore),
        ("fakes.stores:open_without_a_name_for_it", {"size": 3}, InMemoryVectorStore),
        ("qdrant", {"location": ":memory:"}, QdrantVectorStore),
        (
            "langchain_qdrant:QdrantVectorStore.construct_instance",
            {"client_options": {"location": ":memory:"}, "collection_name": "own-{index}"},
            QdrantVectorStore,
        ),
    ],
)
def test_a_store_is_opened_by_recipe_or_path(factory: str, options: dict[str, object], kind: type) -> None:
    opened = open_vector_store(factory, options, LetterEmbeddings(), name="faq")
    store = opened.store
    assert isinstance(store, kind)
    ids = ["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"]
    opened.put(["aa", "bb"], metadatas=[{}, {}], ids=ids)
    assert store.similarity_search("b", k=1)[0].page_content == "bb"
    if isinstance(store, QdrantVectorStore):
        assert store.collection_name == ("arbiter_faq" if factory == "qdrant" else "own-faq")
    opened.close()


def test_collections_of_one_folder_do_not_lock_one_another_out(tmp_path: Path) -> None:
    stores = [open_vector_store("qdrant", {"path": str(tmp_path)}, LetterEmbeddings(), name=name) for name in "ab"]
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["arbiter_a", "arbiter_b"]
    for store in stores:
        store.close()


def test_a_collection_in_a_folder_is_open_once(tmp_path: Path) -> None:
    first = open_vector_store("qdrant", {"path": str(tmp_path)}, LetterEmbeddings(), name="faq")
    with pytest.raises(RagError, match=r"arbiter_faq' is open in another process; end that, or use the store's server"):
        open_vector_store("qdrant", {"path": str(tmp_path)}, LetterEmbeddings(), name="faq")
    first.close()
    open_vector_store("qdrant", {"path": str(tmp_path)}, LetterEmbeddings(), name="faq").close()
    with pytest.raises(RagError, match=r"folder .* cannot be used: Not a directory"):
        open_vector_store("qdrant", {"path": __file__}, LetterEmbeddings(), name="faq")


@pytest.mark.parametrize(
    ("factory", "options", "fault"),
    [
        ("pgvektor", {}, "'pgvektor' names nothing"),
        ("no_such_store:Store", {}, "install the package"),
        ("fakes.stores:open_number", {}, "must give a LangChain VectorStore"),
        ("qdrant", {"location": ":memory:", "url": "http://x"}, "cannot be opened"),
        ("pgvector", {}, "cannot be opened.*connection"),
    ],
)
def test_a_store_that_cannot_be_opened_is_one_line(factory: str, options: dict[str, object], fault: str) -> None:
    with pytest.raises(RagError, match=fault) as caught:
        open_vector_store(factory, options, LetterEmbeddings(), name="faq")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "package", "options"),
    [
        ("pgvector", "langchain-postgres", {"connection": "postgresql+psycopg://user:s3cret@127.0.0.1:9/x"}),
        ("chroma", "langchain-chroma", {}),
        ("milvus", "langchain-milvus", {"uri": "http://127.0.0.1:9"}),
    ],
)
def test_a_recipe_whose_package_is_missing_says_so(recipe: str, package: str, options: dict[str, object]) -> None:
    assert recipe in RECIPES
    if find_spec(package.replace("-", "_")) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(RagError, match=f"install the package that holds it: pip install {package}$"):
        open_vector_store(recipe, options, LetterEmbeddings(), name="faq")
