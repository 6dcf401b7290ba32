"""How much one source may cost: `load_documents(path, limits=Limits(max_file_bytes=10_000_000))`."""

from __future__ import annotations

from rag.errors import RagError
from storage.settings import Above0, Count, settings


@settings(RagError)
class Limits:
    """What is over a limit is skipped with the limit's name in the reason; nothing is cut short.

    `max_file_bytes` holds for a file and for a member of an archive. `max_archive_bytes`, `max_archive_files` and
    `max_archive_ratio` (uncompressed by compressed size of a member over 1 MiB) hold for zip archives, docx, pptx and
    xlsx among them. `max_text_chars` holds for the text of one document or of one file of rows. `timeout_s` and
    `max_memory_bytes` (address space) hold for the conversion of one file.
    """

    max_file_bytes: Count = 100_000_000
    max_archive_bytes: Count = 1_000_000_000
    max_archive_ratio: Count = 200
    max_archive_files: Count = 10_000
    max_text_chars: Count = 20_000_000
    timeout_s: Above0 = 120.0
    max_memory_bytes: Count = 2_000_000_000


def describe_size(num_bytes: int) -> str:
    """A size for a message: `describe_size(524_288_000) == '524.3 MB'`."""
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 100_000 else f"{num_bytes} bytes"
