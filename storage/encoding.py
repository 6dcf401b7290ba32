"""Bytes to text, the encoding found by the bytes: `decode(file.read_bytes())`."""

from __future__ import annotations

import codecs
import re

from storage.errors import StorageError

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = {
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}
# Encodings that files are found in. Left to its full list, charset-normalizer reads short French as cp1257.
_LEGACY = (
    *("cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949"),
)
_SAMPLE_BYTES = 65_536
# A coherence this much below the best's is no better evidence: cp1250 and cp1252 differ in few letters.
_COHERENCE_NOISE = 0.05
_CONTROL = re.compile(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]")
# Old terminals' text holds a few; of random bytes a tenth are such.
_MAX_CONTROL_SHARE = 0.03
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
# One damaged byte must not turn a whole text into that of another encoding.
_GOOD_PER_BAD = 10
# What a page says, and what browsers read it as (encoding.spec.whatwg.org).
_BROWSER_ENCODINGS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "shift_jis": "cp932",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
}


def decode(data: bytes, declared: str | None = None) -> str:
    """The text: UTF-8, UTF-16 or UTF-32 by its mark, else the encoding `declared` by the text itself, else the one
    that charset-normalizer finds most likely.

    UTF-8 with few damaged bytes has U+FFFD in their place. Raises StorageError with the reason if this is no text.
    """
    try:
        _check_text(data)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    for encoding, marks in _MARKS.items():
        if data.startswith(marks):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError as error:
                raise StorageError(
                    f"not {encoding.upper()} text, though it is marked so (byte {error.start})"
                ) from error
    text = data.decode("utf-8", "replace")
    num_bad = text.count("\ufffd")
    if len(data) - len(text) > _GOOD_PER_BAD * num_bad:
        return text.removeprefix("\ufeff")
    for encoding in (*_declared_encoding(declared), *_likely_encodings(data)):
        try:
            return data.decode(encoding)
        except (UnicodeError, LookupError):
            # The sample did not hold the byte that this encoding lacks; or what was declared is none of text.
            continue
    raise StorageError("not text in a known encoding; save it as UTF-8")


def _check_text(data: bytes) -> None:
    """Raises StorageError with the reason if the bytes have no mark of an encoding and hold what no text holds."""
    if any(map(data.startswith, _MARKS.values())):
        return
    if b"\x00" in data:
        raise StorageError("binary (holds NUL bytes)")
    sample = data[:_SAMPLE_BYTES]
    if len(_CONTROL.findall(sample)) > _MAX_CONTROL_SHARE * len(sample):
        raise StorageError("binary (holds control characters)")


def _declared_encoding(name: str | None) -> tuple[str, ...]:
    """The encoding of this name as browsers read it; none if it is unknown or is one of Unicode, tried before."""
    try:
        encoding = codecs.lookup(name or "").name
    except LookupError:
        return ()
    return () if encoding.startswith("utf") else (_BROWSER_ENCODINGS.get(encoding, encoding),)


def _likely_encodings(data: bytes) -> list[str]:
    """Encodings of a sample around the first byte that is not ASCII, the most likely first."""
    from charset_normalizer import from_bytes

    first = _NOT_ASCII.search(data)
    start = max(0, (first.start() if first else 0) - 1000)
    sample = data[start : start + _SAMPLE_BYTES]
    found = list(from_bytes(sample, cp_isolation=list(_LEGACY))) or list(from_bytes(sample))
    if not found:
        return []
    best = found[0]
    encodings = [match.encoding for match in found]
    # Where the evidence is equal, the encoding of most of the world's legacy files is the better guess.
    as_likely = (
        "cp1252" in match.could_be_from_charset
        for match in found
        if match.chaos <= best.chaos and match.coherence >= best.coherence - _COHERENCE_NOISE
    )
    return ["cp1252", *encodings] if any(as_likely) else encodings
