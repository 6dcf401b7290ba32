"""What converters keep of a file and how long they take: `python benchmarks/conversion.py`.

The files are made here with fpdf2, python-docx, python-pptx and openpyxl. LangChain's loaders take part where their own
packages are there: `pip install 'unstructured[docx,pptx,xlsx]' docx2txt`.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rag.documents.convert import convert
from rag.documents.limits import Limits
from rag.documents.load import load_documents

FEES = (("Item", "Fee", "Days"), ("Late book", "0.10", "1"), ("Lost card", "5", "14"), ("Study room", "12.50", "3"))
TEXT = (
    "The loan desk opens at nine and closes at five. Readers may borrow up to ten books for three weeks, and renew "
    "them twice unless another reader has asked for one of them."
)
LONG = "A remark that is longer than the fifty characters after which some converters cut a cell of a table."
KINDS = ("html", "pdf", "docx", "pptx", "xlsx")
REPEATS = 3
KEPT = ("title", "headings", "table", "pages", "values")


@dataclass(frozen=True, slots=True)
class Text:
    """What a converter gives of a file."""

    text: str
    title: str = ""
    num_pages: int = 0


Converter = Callable[[Path], Text]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--parts", type=int, default=20, help="pages, chapters, slides or sheets (default: %(default)s)"
    )
    parser.add_argument("--texts", type=int, default=2000, help="text files of the folder (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            file = Path(folder, f"rules.{kind}")
            file.write_bytes(MAKERS[kind](arguments.parts))
            print(f"\n{kind}, {file.stat().st_size} bytes")
            print(f"{'converter':34} {'first s':>8} {'then ms':>8}  {'  '.join(KEPT)}")
            for name, converter in converters(kind):
                print(_row(name, converter, file, arguments.parts))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.texts):
            Path(folder, f"{number}.md").write_text(f"# Rules {number}\n\n{TEXT}\n" * 5)
        clock = time.perf_counter()
        load_documents(folder)
        print(f"\na folder of {arguments.texts} text files: {time.perf_counter() - clock:.2f} s")


def _row(name: str, converter: Converter, file: Path, parts: int) -> str:
    try:
        clock = time.perf_counter()
        found = converter(file)
        first_s = time.perf_counter() - clock
    except ImportError as error:
        return f"{name:34} not installed ({error.name})"
    except Exception as error:
        # Some loaders fetch models or need programs of the system.
        return f"{name:34} failed: {' '.join(str(error).split())[:80]}"
    times = []
    for _ in range(REPEATS):
        clock = time.perf_counter()
        converter(file)
        times.append(time.perf_counter() - clock)
    headings = [line for line in found.text.split("\n") if line.startswith("#") and "Chapter" in line]
    one_line = " ".join(found.text.split())
    kept = (
        found.title == "Library rules",
        len(headings) == parts,
        "| Late book | 0.10 |" in one_line or "| Late book | 0.1 |" in one_line,
        found.num_pages == parts,
        # Neither cut short nor shown otherwise than in the file.
        found.text.count(LONG) == parts and "14.0" not in found.text,
    )
    marks = "  ".join(("yes" if is_kept else "no").ljust(len(name)) for name, is_kept in zip(KEPT, kept, strict=True))
    return f"{name:34} {first_s:8.2f} {1000 * statistics.median(times):8.0f}  {marks.rstrip()}"


def converters(kind: str) -> Iterator[tuple[str, Converter]]:
    """The converters of a kind, arbiter's first. Pages of html and docx are never there."""

    def ours(file: Path) -> Text:
        converted = convert(kind, file.read_bytes(), Limits())
        return Text(converted.text, converted.title, len(converted.pages))

    yield "arbiter", ours
    made: list[object] = []

    def markitdown(file: Path) -> Text:
        from markitdown import MarkItDown

        made[:] = made or [MarkItDown()]
        result = made[0].convert(file)
        return Text(result.markdown, result.title or "")

    yield "markitdown", markitdown
    for name in LOADERS[kind]:
        yield f"langchain {name}", lambda file, name=name: _load(name, file)


def _load(name: str, file: Path) -> Text:
    from langchain_community import document_loaders

    options = {"mode": "elements"} if name.startswith("Unstructured") else {}
    documents = getattr(document_loaders, name)(str(file), **options).load()
    lines = []
    for document in documents:
        is_title = document.metadata.get("category") == "Title"
        table = document.metadata.get("text_as_html")
        lines.append(f"# {document.page_content}" if is_title else _table(table) if table else document.page_content)
    metadata = [document.metadata for document in documents]
    pages = {row[key] for row in metadata for key in ("page", "page_number") if key in row}
    return Text("\n".join(lines), str(metadata[0].get("title", "")), len(pages))


def _table(html: str) -> str:
    """A table that a loader gives as HTML counts as kept."""
    from markitdown import StreamInfo
    from markitdown.converters import HtmlConverter

    return HtmlConverter().convert(io.BytesIO(html.encode()), StreamInfo(extension=".html")).markdown


LOADERS = {
    "html": ("BSHTMLLoader", "UnstructuredHTMLLoader"),
    "pdf": ("PyPDFium2Loader", "PDFPlumberLoader", "PyPDFLoader"),
    "docx": ("Docx2txtLoader", "UnstructuredWordDocumentLoader"),
    "pptx": ("UnstructuredPowerPointLoader",),
    "xlsx": ("UnstructuredExcelLoader",),
}


def _html(parts: int) -> bytes:
    rows = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in FEES)
    chapters = "".join(
        f"<h1>Chapter {n}</h1><p>{TEXT}</p><p>{LONG}</p><table>{rows}</table>" for n in range(1, parts + 1)
    )
    return f"<html><head><title>Library rules</title></head><body>{chapters}</body></html>".encode()


def _pdf(parts: int) -> bytes:
    from fpdf import FPDF

    pdf = FPDF()
    pdf.set_title("Library rules")
    pdf.set_font("Helvetica", size=9)
    for n in range(1, parts + 1):
        pdf.add_page()
        pdf.start_section(f"Chapter {n}")
        pdf.cell(0, 10, f"Chapter {n}", new_x="LMARGIN", new_y="NEXT")
        for paragraph in (*[TEXT] * 6, LONG):
            pdf.multi_cell(0, 6, paragraph, new_x="LMARGIN", new_y="NEXT")
        # Every other page, as in a text with some tables.
        if n % 2:
            with pdf.table() as table:
                for row in FEES:
                    cells = table.row()
                    for cell in row:
                        cells.cell(cell)
        else:
            pdf.multi_cell(0, 6, "Lost cards are replaced within 14 days.")
    return bytes(pdf.output())


def _docx(parts: int) -> bytes:
    import docx

    document = docx.Document()
    document.core_properties.title = "Library rules"
    for n in range(1, parts + 1):
        document.add_heading(f"Chapter {n}", 1)
        for paragraph in (*[TEXT] * 6, LONG):
            document.add_paragraph(paragraph)
        table = document.add_table(0, len(FEES[0]))
        for row in FEES:
            for cell, value in zip(table.add_row().cells, row, strict=True):
                cell.text = value
    return _saved(document)


def _pptx(parts: int) -> bytes:
    import pptx

    presentation = pptx.Presentation()
    presentation.core_properties.title = "Library rules"
    for n in range(1, parts + 1):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = f"Chapter {n}", f"{TEXT}\n{LONG}"
        table = slide.shapes.add_table(len(FEES), len(FEES[0]), 0, 5_000_000, 5_000_000, 1_000_000).table
        for place, row in enumerate(FEES):
            for column, value in enumerate(row):
                table.cell(place, column).text = value
    return _saved(presentation)


def _xlsx(parts: int) -> bytes:
    import openpyxl

    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    workbook.properties.title = "Library rules"
    for n in range(1, parts + 1):
        sheet = workbook.create_sheet(f"Chapter {n}")
        sheet.append([*FEES[0], "Remark"])
        sheet.append([FEES[1][0], 0.1, 1, None])
        sheet.append([FEES[2][0], 5, 14, LONG])
        for number in range(100):
            sheet.append([f"Room {number}", 12.5, None, "none"])
    return _saved(workbook)


def _saved(document) -> bytes:
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


MAKERS = {"html": _html, "pdf": _pdf, "docx": _docx, "pptx": _pptx, "xlsx": _xlsx}


if __name__ == "__main__":
    main()
