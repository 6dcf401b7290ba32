"""Word files to HTML as a reader of the file sees it: `read_word(data)`.

The parser passes over elements that it does not know, and with them the text that they hold; it knows nothing of
hidden text.
"""

from __future__ import annotations

import io
import re
import zipfile
from xml.etree import ElementTree

_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_EITHER = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_STORY = re.compile(r"word/(?:document|footnotes|endnotes)\d*\.xml")
# Moved text, simple fields, custom mark-up, directions, ruby: read as insertions, whose text the parser keeps.
_UNKNOWN = ("moveTo", "fldSimple", "customXml", "dir", "bdo", "ruby", "rubyBase")
_UNKNOWN_TAGS = frozenset(_WORD + name for name in _UNKNOWN)
_SUSPECT = re.compile(rf":(?:vanish|AlternateContent|{'|'.join(_UNKNOWN)})[ />]".encode())
_TITLE_STYLE = "p[style-name='Title'] => h1:fresh"


def read_word(data: bytes) -> str:
    """The file's text as HTML: insertions without deletions, foot- and endnotes behind it, images as descriptions."""
    import mammoth
    from markitdown.converter_utils.docx.pre_process import pre_process_docx

    # It writes formulas as LaTeX, by the prefixes of the file; what comes after it writes prefixes of its own.
    stream = _shown(pre_process_docx(io.BytesIO(data)))
    no_image = mammoth.images.img_element(lambda _: {"src": ""})
    html: str = mammoth.convert_to_html(stream, style_map=_TITLE_STYLE, convert_image=no_image).value
    return html


def _shown(stream: io.BytesIO) -> io.BytesIO:
    """The file with hidden runs taken out and unknown elements given a name that the parser knows."""
    target = io.BytesIO()
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            if _STORY.fullmatch(member.filename) and _SUSPECT.search(content):
                content = _shown_story(content)
            new.writestr(member, content)
    return target


def _shown_story(content: bytes) -> bytes:
    root = ElementTree.fromstring(content)
    for parent in root.iter():
        for child in list(parent):
            if child.tag == f"{_WORD}r" and _is_hidden(child):
                parent.remove(child)
            elif child.tag in _UNKNOWN_TAGS:
                child.tag = f"{_WORD}ins"
            elif child.tag == f"{_EITHER}AlternateContent" and (boxes := _unread_boxes(child)):
                child.tag = f"{_WORD}ins"
                child[:] = boxes
    return ElementTree.tostring(root)


def _unread_boxes(choice: ElementTree.Element) -> list[ElementTree.Element]:
    """Text boxes of which there is no old form, as LibreOffice writes them; the parser reads only the old form."""
    box = f"{_WORD}txbxContent"
    if choice.find(f"{_EITHER}Fallback//{box}") is not None:
        return []
    found = choice.findall(f"{_EITHER}Choice//{box}")
    within = {inner for outer in found for inner in outer.iter(box) if inner is not outer}
    return [outer for outer in found if outer not in within]


def _is_hidden(run: ElementTree.Element) -> bool:
    mark = run.find(f"{_WORD}rPr/{_WORD}vanish")
    return mark is not None and mark.get(f"{_WORD}val", "true") not in ("0", "false", "off")
