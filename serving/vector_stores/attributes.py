"""Files' attributes, which are kept twice: in a file's row, to be shown, and in the index, where filters look.

attributes = FileAttributes(database)
attributes.change("vs_1", "file-1", {"team": "desk"}, find)
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping

import sqlalchemy as sa

from rag.documents.document import Document
from rag.index import Index
from serving.errors import Refused
from serving.vector_stores.rows import Attributes, StoreFile, among, are_equal
from serving.vector_stores.schema import DELETING, STORE_FILES
from storage.database import Database
from storage.errors import ArbiterError
from storage.tables import read_row

# (store, file) -> where it is indexed, and what is there; raises Refused for what is not, or cannot be opened.
FindDocument = Callable[[str, str], tuple[Index, Document]]


class FileAttributes:
    """A change is in both places or in neither. While it is under way the row says so, also after a crash."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # One change at a time: what is put back after a fault is what the index has.
        self._lock = threading.Lock()

    def change(self, store_id: str, file_id: str, attributes: Attributes, find: FindDocument) -> None:
        """Replaces the attributes of a file, or of a document that was not attached.

        A file that is not indexed yet brings its new ones into the index with it. Raises Refused and RagError for an
        index that does not take them; then nothing has changed.
        """
        with self._lock:
            before = self._begin(store_id, file_id, attributes)
            if before is not None and before.status != "completed":
                return
            try:
                self._settle(store_id, file_id, attributes, find)
            except ArbiterError:
                # Unless another server has changed it since, the file has again what it had.
                if before is not None:
                    self._end(store_id, file_id, attributes, before.attributes)
                raise

    def finish_begun(self, find: FindDocument) -> None:
        """Brings into the indexes what killed servers had begun to change. Raises RagError."""
        query = sa.select(STORE_FILES).where(STORE_FILES.c.is_changing, STORE_FILES.c.status == "completed")
        with self._database.read() as rows:
            begun = [read_row(StoreFile, row) for row in rows.execute(query)]
        for file in begun:
            # One whose index needs another embedder, or has lost it, is left for the next time.
            with contextlib.suppress(Refused):
                self._settle(file.store_id, file.id, file.attributes, find)

    def _begin(self, store_id: str, file_id: str, attributes: Attributes) -> StoreFile | None:
        """The file as it was before, None if it was not attached."""
        where = (*among(store_id, [file_id]), STORE_FILES.c.status != DELETING)
        with self._database.write() as rows:
            row = rows.execute(sa.select(STORE_FILES).where(*where)).one_or_none()
            if row is None:
                return None
            begun = {"attributes": attributes, "is_changing": row.status == "completed"}
            rows.execute(STORE_FILES.update().where(*where).values(begun))
        return read_row(StoreFile, row)

    def _settle(self, store_id: str, file_id: str, attributes: Attributes, find: FindDocument) -> None:
        """Gives the index the attributes, and those that another server gives the file meanwhile."""
        index, document = find(store_id, file_id)
        present: Mapping[str, object] = document.metadata
        newest: Attributes | None = attributes
        while newest is not None:
            if not are_equal(present, newest):
                index.set_metadata(file_id, dict(newest))
            present, newest = newest, self._end(store_id, file_id, newest, newest)

    def _end(self, store_id: str, file_id: str, begun: Attributes, attributes: Attributes) -> Attributes | None:
        """Ends a change with these attributes; returns those that the file has if they are not what was `begun`."""
        where = (*among(store_id, [file_id]), STORE_FILES.c.status == "completed")
        with self._database.write() as rows:
            present: Attributes | None = rows.execute(sa.select(STORE_FILES.c.attributes).where(*where)).scalar()
            if present is None or not are_equal(present, begun):
                return present
            ended = {"attributes": attributes, "is_changing": False}
            rows.execute(STORE_FILES.update().where(*where).values(ended))
        return None
