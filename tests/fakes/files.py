"""Small real files of each format, made by the libraries that people's programs make them with."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence

FEES = (("Item", "Fee"), ("Late book", "0.10"), ("Lost card", "5"))


def pdf_file(
    pages: Sequence[str], *, title: str = "", headings: Sequence[str] = (), table: bool = False, password: str = ""
) -> bytes:
    """A PDF with one paragraph a page; `headings` name the pages in bookmarks, `table` draws FEES on the last page."""
    from fpdf import FPDF

    pdf = FPDF()
    if title:
        pdf.set_title(title)
    for number, text in enumerate(pages):
        pdf.add_page()
        pdf.set_font("Helvetica", size=12)
        if number < len(headings):
            pdf.start_section(headings[number])
            pdf.cell(0, 10, headings[number], new_x="LMARGIN", new_y="NEXT")
        if text:
            pdf.multi_cell(0, 8, text, new_x="LMARGIN", new_y="NEXT")
    if table:
        with pdf.table() as drawn:
            for row in FEES:
                cells = drawn.row()
                for cell in row:
                    cells.cell(cell)
        pdf.multi_cell(0, 8, "Below the table.")
    if password:
        pdf.set_encryption(owner_password=password, user_password=password)
    return bytes(pdf.output())


def docx_file(*, title: str = "", heading: str = "Hours", text: str = "Nine to five.") -> bytes:
    """A Word file with a core title, a level-one heading, a section, a paragraph and the table FEES."""
    import docx

    document = docx.Document()
    document.core_properties.title = title
    document.add_heading(heading, 1)
    document.add_heading("Weekdays", 2)
    document.add_paragraph(text)
    table = document.add_table(0, 2)
    for row in FEES:
        for cell, value in zip(table.add_row().cells, row, strict=True):
            cell.text = value
    return _saved(document)


def pptx_file(slides: Sequence[tuple[str, str]], *, notes: str = "") -> bytes:
    """A PowerPoint file of slides (title, text); the last one has the notes."""
    import pptx

    presentation = pptx.Presentation()
    for title, text in slides:
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = title, text
    if notes:
        slide.notes_slide.notes_text_frame.text = notes
    return _saved(presentation)


def xlsx_file(sheets: Mapping[str, Sequence[Sequence[object]]]) -> bytes:
    """An Excel file of rows by sheet."""
    import openpyxl

    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for name, rows in sheets.items():
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    return _saved(workbook)


def zip_file(members: Mapping[str, bytes | str], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these members; their names are written as they are."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = compression
            archive.writestr(member, content)
    return stream.getvalue()


def changed_file(data: bytes, member: str, change: Callable[[str], str]) -> bytes:
    """A zip or Office file with the text of one member changed."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content.decode()) if name == member else content)
    return stream.getvalue()


def _saved(document) -> bytes:
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()
