"""Uploaded files: a row each, the bytes in `<home>/files/<id>/content`.

files = FileStore(database, home / "files")
with files.draft() as folder:
    files.publish(folder, await receive_upload(request, folder / CONTENT, ...))
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa

from serving.errors import Conflict, NotFound, ServingError
from serving.http.pages import Page, PageOfRows, select_page
from serving.vector_stores.rows import FILES, no_file
from serving.vector_stores.uploads import Upload
from storage.database import Database
from storage.files import sync_path
from storage.tables import values_of

MAX_UPLOAD_BYTES = 512 * 2**20
CONTENT = "content"

_DRAFT = ".part"
# An upload that is older than this has lost its server.
_DRAFT_LIFE_S = 24 * 3600.0


# A row of FILES, which never changes. `filename` is what the user called it.
StoredFile = sa.Row[Any]


@dataclass(eq=False)
class FileStore:
    """A row stands for bytes that are whole on the disk. Methods that name a file raise NotFound for none."""

    database: Database
    folder: Path
    max_bytes: int = MAX_UPLOAD_BYTES
    clock: Callable[[], float] = time.time

    @cached_property
    def home(self) -> str:
        """Names the data directory, also when it has moved: servers of others may share the database."""
        file = self.folder.with_name("files.id")
        try:
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                draft = file.with_name(f"files.{uuid.uuid4().hex}")
                draft.write_text(uuid.uuid4().hex)
                with contextlib.suppress(FileExistsError):
                    os.link(draft, file)
                draft.unlink()
            return file.read_text()
        except OSError as error:
            raise ServingError(f"{str(file)!r} cannot be written: {(error.strerror or str(error)).lower()}") from error

    @property
    def is_here(self) -> sa.ColumnElement[bool]:
        """Of a row of FILES: whether its bytes are in this data directory."""
        return sa.or_(FILES.c.home.is_(None), FILES.c.home == self.home)

    def check_here(self, file_ids: Collection[str]) -> None:
        """Raises Conflict for a file whose bytes are in another data directory."""
        query = sa.select(FILES.c.id).where(FILES.c.id.in_(file_ids), ~FILES.c.is_deleting, ~self.is_here).limit(1)
        with self.database.read() as rows:
            if (found := rows.execute(query).scalar_one_or_none()) is not None:
                raise Conflict(
                    f"the bytes of file {found!r} are not in this server's data directory; ask the server that took "
                    "the upload, or let both share one",
                    param="file_id",
                    code="file_elsewhere",
                )

    @contextlib.contextmanager
    def draft(self, file_id: str | None = None) -> Iterator[Path]:
        """A folder for an upload that is coming in; gone at the end of the block unless it was published.

        Raises ServingError for a disk that cannot be written in the block, such as a full one.
        """
        folder = self.folder / f"{file_id or new_file_id()}{_DRAFT}"
        try:
            folder.mkdir(parents=True)
            yield folder
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ServingError(f"{str(self.folder)!r} cannot be written: {reason}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, draft: Path, upload: Upload) -> StoredFile:
        """The upload in a draft as a file, the row last."""
        file_id = draft.name.removesuffix(_DRAFT)
        draft.rename(self.folder / file_id)
        sync_path(self.folder)
        added = FILES.insert().values(id=file_id, created_at=int(self.clock()), **values_of(upload), home=self.home)
        with self.database.write() as rows:
            return rows.execute(added.returning(FILES)).one()

    def keep(self, file_id: str, filename: str, purpose: str, content: bytes) -> None:
        """A file of our own under an id that `new_file_id` gave; what is kept under it already stays.

        Raises ServingError as `draft` does.
        """
        with self.database.read() as rows:
            if rows.execute(sa.select(FILES.c.id).where(FILES.c.id == file_id)).first() is not None:
                return
        for torn in (self.folder / file_id, self.folder / f"{file_id}{_DRAFT}"):  # a killed server's
            shutil.rmtree(torn, ignore_errors=True)
        with self.draft(file_id) as draft:
            (draft / CONTENT).write_bytes(content)
            sync_path(draft / CONTENT)
            self.publish(draft, Upload(filename, purpose, len(content), hashlib.sha256(content).hexdigest()))

    def discard(self, file_id: str) -> None:
        """Takes a file of our own away, which no vector store has; nothing for one that is gone."""
        with contextlib.suppress(NotFound):
            self.hide(file_id)
            self.remove(file_id)

    def get(self, file_id: str, *, param: str | None = None) -> StoredFile:
        query = sa.select(FILES).where(FILES.c.id == file_id, ~FILES.c.is_deleting)
        with self.database.read() as rows:
            row = rows.execute(query).one_or_none()
        if row is None:
            raise no_file(file_id, param=param)
        return row

    def page(self, page: Page) -> PageOfRows:
        """A page of StoredFiles."""
        return select_page(self.database, FILES, page, ~FILES.c.is_deleting)

    def path(self, file_id: str) -> Path:
        """Where the bytes of a file are, if there is such a file."""
        return self.folder / file_id / CONTENT

    def open(self, file_id: str) -> BinaryIO:
        """The bytes; what is open stays readable when the file is deleted."""
        self.get(file_id)
        try:
            return self.path(file_id).open("rb")
        except FileNotFoundError as error:
            self.check_here([file_id])
            raise no_file(file_id) from error

    def hide(self, file_id: str) -> None:
        """First step of a deletion: from now on there is no such file, also after a crash."""
        hidden = FILES.update().where(FILES.c.id == file_id, ~FILES.c.is_deleting).values(is_deleting=True)
        with self.database.write() as rows:
            if rows.execute(hidden).rowcount == 0:
                raise no_file(file_id)

    def hidden(self) -> list[str]:
        """The files whose deletion was begun."""
        with self.database.read() as rows:
            return list(rows.execute(sa.select(FILES.c.id).where(FILES.c.is_deleting)).scalars())

    def remove(self, file_id: str) -> None:
        """Last step of a deletion: the bytes, then the row."""
        shutil.rmtree(self.folder / file_id, ignore_errors=True)
        with self.database.write() as rows:
            rows.execute(FILES.delete().where(FILES.c.id == file_id))

    def sweep(self) -> None:
        """Takes away what killed servers left of uploads that were never answered."""
        with self.database.read() as rows:
            known = set(rows.execute(sa.select(FILES.c.id)).scalars())
        for folder in self.folder.glob("file-*"):
            with contextlib.suppress(OSError):
                if folder.name not in known and folder.stat().st_mtime < self.clock() - _DRAFT_LIFE_S:
                    shutil.rmtree(folder)


def new_file_id() -> str:
    """The id of a file that is still to come."""
    return f"file-{uuid.uuid4().hex}"
