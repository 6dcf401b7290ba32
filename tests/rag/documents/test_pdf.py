from __future__ import annotations

import pytest
from fakes.files import pdf_file

from rag.documents.pdf import read_pdf

# One page with a text field that holds a value, a hidden one, and no picture of either.
FORM = b"""%PDF-1.7
1 0 obj <</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[5 0 R 6 0 R]/DA(/F 12 Tf 0 g)/DR<</Font<</F 7 0 R>>>>>>>> endobj
2 0 obj <</Type/Pages/Kids[3 0 R]/Count 1>> endobj
3 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R/Annots[5 0 R 6 0 R]
 /Resources<</Font<</F 7 0 R>>>>>> endobj
4 0 obj <</Length 35>> stream
BT /F 12 Tf 20 250 Td (Name:) Tj ET
endstream endobj
5 0 obj <</Type/Annot/Subtype/Widget/FT/Tx/T(a)/V(Ada)/Rect[80 240 200 260]/F 4/DA(/F 12 Tf 0 g)/P 3 0 R>> endobj
6 0 obj <</Type/Annot/Subtype/Widget/FT/Tx/T(b)/V(Unseen)/Rect[80 40 200 60]/F 2/DA(/F 12 Tf 0 g)/P 3 0 R>> endobj
7 0 obj <</Type/Font/Subtype/Type1/BaseFont/Helvetica>> endobj
trailer <</Root 1 0 R>>
%%EOF
"""


def lines_of(data: bytes) -> list[list[str]]:
    return [[line for line in page.split("\n") if line] for page in read_pdf(data)[1]]


def turned_pdf(*, text_degrees: int, page_degrees: int) -> bytes:
    from fpdf import FPDF

    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("Helvetica", size=12)
    with pdf.rotation(text_degrees, 100, 150):
        for number in range(4):
            pdf.text(60, 150 + 8 * number, f"Line {number}.")
    return bytes(pdf.output()).replace(b"/Type /Page\n", b"/Type /Page\n/Rotate %d\n" % page_degrees)


def test_a_form_is_read_with_what_is_filled_in() -> None:
    assert lines_of(FORM) == [["Name:", "Ada"]]


@pytest.mark.parametrize(
    ("text_degrees", "page_degrees"), [(0, 0), (0, 90), (0, 180), (0, 270), (90, 0), (90, 90), (-90, 270), (-90, 0)]
)
def test_lines_are_read_one_after_the_other_however_text_and_page_are_turned(
    text_degrees: int, page_degrees: int
) -> None:
    data = turned_pdf(text_degrees=text_degrees, page_degrees=page_degrees)

    assert lines_of(data) == [["Line 0.", "Line 1.", "Line 2.", "Line 3."]]


def test_words_that_a_line_end_parts_are_whole_and_other_hyphens_stay() -> None:
    data = pdf_file(["It is informa-\ntion on COVID-\n19, Nord-\nSüd, 2020-\n2021 and pre- or post-\nwar use."])

    assert " ".join(lines_of(data)[0]) == "It is information on COVID-19, Nord-Süd, 2020- 2021 and pre- or postwar use."


def test_a_bookmarked_title_of_two_lines_is_one_heading() -> None:
    from fpdf import FPDF

    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("Helvetica", size=12)
    pdf.start_section("Opening hours of the reading room")
    pdf.multi_cell(0, 8, "Opening hours of the\nreading room\nNine to five.")

    assert lines_of(bytes(pdf.output())) == [["# Opening hours of the reading room", "Nine to five."]]


def test_a_title_does_not_name_the_program_that_printed_the_file() -> None:
    assert read_pdf(pdf_file(["x"], title="Microsoft Word - Loan rules.docx"))[0] == "Loan rules.docx"
