from __future__ import annotations

from xml.parsers.expat import ExpatError

import pytest
from fakes.files import changed_file, docx_file

from rag.documents.convert import convert
from rag.documents.limits import Limits

RUN = "<w:r><w:t>{}</w:t></w:r>"
BOX = f"<w:txbxContent><w:p>{RUN}</w:p></w:txbxContent>"
NAMES = " ".join(
    f"xmlns:{name}='{address}'"
    for name, address in {
        "mc": "http://schemas.openxmlformats.org/markup-compatibility/2006",
        "v": "urn:schemas-microsoft-com:vml",
        "wps": "http://schemas.microsoft.com/office/word/2010/wordprocessingShape",
    }.items()
)


def word_file(story: str, *, prolog: str = "") -> bytes:
    """A Word file with this XML in the place of a paragraph's text."""

    def changed(xml: str) -> str:
        head, mark, body = xml.partition("?>")
        return head + mark + prolog + body.replace("<w:r><w:t>PLACE</w:t></w:r>", story)

    return changed_file(docx_file(heading="", text="PLACE"), "word/document.xml", changed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("story", "text"),
    [
        (f"<w:ins w:id='1'>{RUN}</w:ins><w:del w:id='2'><w:r><w:delText>old</w:delText></w:r></w:del>", "Seen"),
        (f"<w:moveTo w:id='1'>{RUN}</w:moveTo>", "Seen"),
        (f"<w:moveFrom w:id='1'>{RUN}</w:moveFrom>", ""),
        (f"<w:fldSimple w:instr='AUTHOR'>{RUN}</w:fldSimple>", "Seen"),
        (f"<w:customXml><w:bdo w:val='rtl'>{RUN}</w:bdo></w:customXml>", "Seen"),
        (f"<w:r><w:ruby><w:rt><w:r><w:t>how</w:t></w:r></w:rt><w:rubyBase>{RUN}</w:rubyBase></w:ruby></w:r>", "Seen"),
        ("<w:r><w:rPr><w:vanish/></w:rPr><w:t>{}</w:t></w:r>", ""),
        ("<w:r><w:rPr><w:vanish w:val='0'/></w:rPr><w:t>{}</w:t></w:r>", "Seen"),
    ],
)
def test_text_is_read_as_it_is_shown_with_all_changes_accepted(story: str, text: str) -> None:
    converted = convert("docx", word_file(RUN.format("Before ") + story.format("Seen")), Limits())

    assert converted.text.split("\n\n")[1] == f"Before {text}".strip()


@pytest.mark.slow
@pytest.mark.parametrize(
    "old_form", ["", f"<w:pict><v:shape><v:textbox>{BOX.format('Boxed')}</v:textbox></v:shape></w:pict>"]
)
def test_a_text_box_is_read_once_whether_or_not_it_has_an_old_form(old_form: str) -> None:
    new_form = f"<w:drawing><wps:wsp><wps:txbx>{BOX.format('Boxed')}</wps:txbx></wps:wsp></w:drawing>"
    choice = f"<mc:Choice Requires='wps'>{new_form}</mc:Choice><mc:Fallback>{old_form}</mc:Fallback>"
    story = f"<w:r><mc:AlternateContent {NAMES}>{choice}</mc:AlternateContent></w:r>"

    assert convert("docx", word_file(story), Limits()).text.count("Boxed") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "prolog",
    [
        "<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/hostname'>]>",
        "<!DOCTYPE d [<!ENTITY a 'aaaaaaaaaa'><!ENTITY x '&a;&a;&a;&a;'>]>",
    ],
)
def test_a_file_with_entities_is_refused_and_they_are_neither_fetched_nor_unfolded(prolog: str) -> None:
    with pytest.raises(ExpatError):
        convert("docx", word_file("<w:r><w:t>&x;</w:t></w:r>", prolog=prolog), Limits())
