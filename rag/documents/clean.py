"""Text without what a reader cannot see: `clean("pay\\u200bment")`. Documents and queries pass through it alike.

Removed: control characters, zero-width and bidirectional marks, soft hyphens, tag characters, hidden variation
selectors. Joiners stay where they carry meaning: in emoji, in Arabic and Indic scripts. Folded to what it looks like:
full-width and styled letters, ligatures. The rest is NFC; NFKC of the whole would turn x² to x2, ½ to 1⁄2 and ™ to TM.
"""

from __future__ import annotations

import re
import unicodedata

# Scripts whose spelling needs joiners: Arabic to N'Ko, Indic to Tibetan, Myanmar, Khmer, Mongolian.
_JOINING = "\u0600-\u08ff\u0900-\u0fff\u1000-\u109f\u1780-\u18af\ua840-\ua87f"
_EMOJI = "\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001faff"
_HAN = "\u3400-\u9fff\U00020000-\U000323af"

# ASCII text is clean unless it holds one of these.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_LINE_BREAK = re.compile("\r\n?|[\x0b\x0c\x85]")
_NEVER_SHOWN = (
    "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e001f"
)
# Hidden, or part of what is shown: joiners, variation selectors, tags.
_SUSPECT = re.compile(f"[{_NEVER_SHOWN}\u200c\u200d\ufe00-\ufe0f\U000e0020-\U000e007f\U000e0100-\U000e01ef]")
_HIDDEN = re.compile(
    # The flag of a region is a black flag and up to six tags; any other tag is hidden text.
    "(\U0001f3f4[\U000e0020-\U000e007e]{2,6}\U000e007f)|[\U000e0020-\U000e007f]"
    f"|[{_NEVER_SHOWN}]"
    f"|(?<![{_JOINING}])\u200c|(?<![{_JOINING}{_EMOJI}\ufe0f])\u200d|(?<=[{_EMOJI}\ufe0f])\u200d(?![{_EMOJI}])"
    # One selector may follow what it selects a form of; more of them are hidden bytes.
    f"|(?<![0-9#*{_EMOJI}{_HAN}])[\ufe00-\ufe0f]|(?<![{_HAN}])[\U000e0100-\U000e01ef]"
)
# Ligatures and Arabic presentation forms (as PDF files hold them), full and half width, styled letters, odd spaces.
_COMPATIBLE = re.compile(
    "[\u00a0\u2000-\u200a\u202f\u205f\u3000\ufb00-\ufdf9\ufdfc-\ufdff\ufe70-\ufefc\uff01-\uff9f\uffe0-\uffee"
    "\U0001d400-\U0001d7ff]+"
)
# Signs of the fonts Symbol and Wingdings, as Word and its PDF files hold them: bullets, an arrow, a tick.
_FONT_SIGNS = {0xF0B7: "•", 0xF0A7: "▪", 0xF0D8: "➢", 0xF0FC: "✓"}
_FONT_SIGN = re.compile("[\uf0a7\uf0b7\uf0d8\uf0fc]")


def clean(text: str) -> str:
    """The text in NFC, without hidden characters, with `\\n` line breaks. Cleaning twice changes nothing."""
    if text.isascii() and not _CONTROL.search(text):
        return text
    text = _LINE_BREAK.sub("\n", text)
    # What is removed may have parted characters that now make a hidden pair.
    while _SUSPECT.search(text) and (shorter := _HIDDEN.sub(r"\1", text)) != text:
        text = shorter
    if text.isascii():
        return text
    if _FONT_SIGN.search(text):
        text = text.translate(_FONT_SIGNS)
    text = _COMPATIBLE.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return unicodedata.normalize("NFC", text.replace("\u2010", "-").replace("\u2011", "-"))
