from __future__ import annotations

import datetime
import io
import zipfile

import pytest
from fakes.files import docx_file, pdf_file, pptx_file, xlsx_file, zip_file

from rag.documents.convert import convert
from rag.documents.limits import Limits
from rag.errors import RagError

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
FEES = "| Item | Fee |\n| --- | --- |\n| Late book | 0.10 |\n| Lost card | 5 |"


def test_a_pdf_keeps_pages_bookmarked_headings_and_ruled_tables() -> None:
    data = pdf_file(["Nine to five.", "As follows."], title="Rules", headings=["Hours", "Fees"], table=True)

    converted = convert("pdf", data, Limits())

    assert converted.title == "Rules"
    pages = [
        converted.text[start:end] for start, end in zip(converted.pages, (*converted.pages[1:], None), strict=True)
    ]
    assert pages == [
        "# Hours\n\nNine to five.\n\n",
        f"# Fees\n\nAs follows.\n\n{FEES}\n\nBelow the table.",
    ]


def test_a_pdf_page_without_text_begins_where_the_one_before_it_ends() -> None:
    converted = convert("pdf", pdf_file(["", "Second.", "", "Fourth."]), Limits())

    assert (converted.text, converted.pages) == ("Second.\n\nFourth.", (0, 0, 7, 9))


@pytest.mark.slow
def test_a_word_file_keeps_headings_and_table_and_gives_its_first_heading_as_title() -> None:
    converted = convert("docx", docx_file(text="snake_case * 2"), Limits())

    assert converted.title == "Hours"
    assert converted.text == f"## Weekdays\n\nsnake_case * 2\n\n{FEES}"
    assert converted.pages == ()


def test_a_word_file_with_a_title_of_its_own_keeps_all_headings() -> None:
    converted = convert("docx", docx_file(title="Loan desk"), Limits())

    assert converted.title == "Loan desk"
    assert converted.text.startswith("# Hours\n\n## Weekdays")


def test_a_presentation_has_a_page_a_slide_also_where_a_slide_imitates_the_mark() -> None:
    slides = [("One", "<!-- Slide number: 1 -->\nstill one"), ("Two", "Text.")]

    converted = convert("pptx", pptx_file(slides, notes="Remember."), Limits())

    assert converted.title == "One"
    assert len(converted.pages) == 2
    assert converted.text[converted.pages[1] :] == "# Two\nText.\n\n### Notes:\nRemember."


def test_a_spreadsheet_has_a_page_a_sheet_and_numbers_as_shown() -> None:
    rows = [
        ["Item", "Fee", "Since"],
        ["a|b", 0.1 * 3, datetime.date(2024, 1, 2)],
        [],
        ["c\nd", 7, None],
        ["e", None, True],
        ["f", 1e-3, datetime.timedelta(hours=30, minutes=5)],
        ["g", -1, datetime.timedelta(minutes=-90)],
    ]

    converted = convert("xlsx", xlsx_file({"Fees": rows, "Empty": [], "Rooms": [["Room"], ["A 1"]]}), Limits())

    assert converted.text == (
        "## Fees\n\n| Item | Fee | Since |\n| --- | --- | --- |\n| a\\|b | 0.3 | 2024-01-02 |\n| c d | 7 |  |\n"
        "| e |  | TRUE |\n| f | 0.001 | 30:05:00 |\n| g | -1 | -1:30:00 |\n\n## Rooms\n\n| Room |\n| --- |\n| A 1 |"
    )
    assert [converted.text[start : start + 8] for start in converted.pages] == ["## Fees\n", "\n\n## Roo", "## Rooms"]


def test_html_keeps_structure_and_drops_scripts() -> None:
    page = (
        "<html><head><title>Caf\xe9 &amp; desk</title><meta charset=latin-1><style>p{}</style></head><body>"
        "<h2>Hours</h2><p>Nine <b>to</b> five.<script>alert(1)</script></p><pre><code># not a heading</code></pre>"
        "<table><tr><td>k</td></tr><tr><td>v</td></tr></table></body></html>"
    )

    converted = convert("html", page.encode("latin-1"), Limits())

    assert converted.title == "Café & desk"
    assert converted.text == ("## Hours\n\nNine **to** five.\n\n```\n# not a heading\n```\n\n| k |\n| --- |\n| v |")


def test_hidden_text_of_a_format_is_cleaned_and_offsets_are_of_the_clean_text() -> None:
    converted = convert("pptx", pptx_file([("O\u200bne", "a\u00adb"), ("Two", "ﬁn")]), Limits())

    assert converted.title == "One"
    assert converted.text[converted.pages[1] :] == "# Two\nfin"


@pytest.mark.parametrize(
    ("kind", "data", "reason"),
    [
        ("pdf", b"%PDF-1.7 torn", "corrupt PDF"),
        ("pdf", pdf_file(["Secret."], password="x"), "protected by a password"),
        ("pdf", pdf_file(["", ""]), "OCR"),
        (
            "docx",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
            "protected by a password",
        ),
        ("docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 WordDocument", "an old Office format"),
        ("docx", b"PK torn", "not a whole zip archive"),
        ("xlsx", zip_file({"xl/sheet.xml": b" " * 9_000_000}), "'xl/sheet.xml' inside it: unpacks to"),
        ("pptx", zip_file({"../x.xml": b"x"}), "its path leads out of the archive"),
        ("xlsx", xlsx_file({"Empty": []}), "empty"),
        ("html", b"<p> </p>", "empty"),
        ("html", b"\x00\x01\x02", "binary"),
        ("html", b"<p>" + b"x" * 200, "200 characters, over the limit of 100"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_the_reason(kind: str, data: bytes, reason: str) -> None:
    with pytest.raises(RagError) as caught:
        convert(kind, data, Limits(max_text_chars=100))

    assert reason in str(caught.value)


def test_a_word_file_without_core_properties_is_read() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(docx_file())) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            if name != "docProps/core.xml":
                new.writestr(name, old.read(name))

    assert convert("docx", stream.getvalue(), Limits()).title == "Hours"


def test_a_sheet_that_is_hidden_or_a_chart_is_left_out_and_the_others_keep_their_place() -> None:
    import openpyxl
    from openpyxl.chart import BarChart, Reference

    workbook = openpyxl.load_workbook(io.BytesIO(xlsx_file({"A": [["a"]], "Pay": [["Secret"]], "C": [["c"]]})))
    workbook["Pay"].sheet_state = "hidden"
    chart = BarChart()
    chart.add_data(Reference(workbook["A"], min_col=1, min_row=1))
    workbook.create_chartsheet("Chart", index=0).add_chart(chart)
    stream = io.BytesIO()
    workbook.save(stream)

    converted = convert("xlsx", stream.getvalue(), Limits())

    assert "Secret" not in converted.text
    assert "Pay" not in converted.text
    assert [converted.text[start:] for start in converted.pages][3] == "## C\n\n| c |\n| --- |"


def test_a_share_is_shown_in_percent() -> None:
    import openpyxl

    workbook = openpyxl.Workbook()
    for value, form in ((0.25, "0%"), (0.1234, "0.0%"), (0.07, "0.00"), (1, "0%"), (5, '0"%"'), (6, "0\\%")):
        workbook.active.append([value])
        workbook.active.cell(workbook.active.max_row, 1).number_format = form
    stream = io.BytesIO()
    workbook.save(stream)

    assert convert("xlsx", stream.getvalue(), Limits()).text.split("\n")[2:] == [
        "| 25% |",
        "| --- |",
        "| 12.34% |",
        "| 0.07 |",
        "| 100% |",
        "| 5 |",
        "| 6 |",
    ]


def test_a_slide_title_of_two_lines_is_one_heading_and_a_picture_its_description() -> None:
    import pptx
    from PIL import Image

    image = io.BytesIO()
    Image.new("RGB", (4, 4)).save(image, "PNG")
    presentation = pptx.Presentation(io.BytesIO(pptx_file([("Opening\vhours", "Nine\vto five")])))
    picture = presentation.slides[0].shapes.add_picture(image, 0, 6_000_000)
    picture._element._nvXxPr.cNvPr.set("descr", "A clock")
    stream = io.BytesIO()
    presentation.save(stream)

    converted = convert("pptx", stream.getvalue(), Limits())

    assert (converted.title, converted.text) == ("Opening hours", "# Opening hours\nNine\nto five\n\nA clock")


def test_a_page_in_an_encoding_that_it_names_is_read_as_browsers_do() -> None:
    page = '<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-1"><p>“Größe” – 5 €</p>'

    assert convert("html", page.encode("cp1252"), Limits()).text == "“Größe” – 5 €"
