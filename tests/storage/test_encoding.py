from __future__ import annotations

import codecs

import pytest

from storage.encoding import decode
from storage.errors import StorageError


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "Größe, 図書館, 👍"),
        ("utf-8-sig", "Größe"),
        ("utf-16", "Größe, 図書館"),
        ("utf-32", "Größe, 図書館"),
        ("cp1252", "Le café est ouvert à midi; où êtes-vous, garçon ? Déjà vu."),
        ("cp1252", "The café opens at nine o’clock. Fees are 5 £ a day."),
        ("latin-1", "café"),
        ("cp1250", "Książki można wypożyczyć na trzy tygodnie. Źródło, żółć."),
        ("cp1251", "Библиотека открыта с девяти до пяти часов."),
        ("koi8-r", "Библиотека открыта с девяти до пяти часов."),
        ("cp1253", "Η βιβλιοθήκη ανοίγει στις εννέα το πρωί."),
        ("shift_jis", "図書館は九時に開きます。本は三週間借りることができます。"),
        ("gb18030", "图书馆九点开门，五点关门。每位读者最多可借十本书。"),
        ("euc_kr", "도서관은 아홉 시에 열고 다섯 시에 닫습니다."),
    ],
)
def test_the_encoding_is_found(encoding: str, text: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("declared", "encoding", "text"),
    [
        ("iso-8859-1", "cp1252", "“Größe” – 5 €"),
        ("Shift_JIS", "cp932", "①表示"),
        ("windows-1251", "cp1251", "Да"),
        ("utf-16", "cp1252", "Größe"),
        ("no-such", "cp1252", "Größe"),
        ("zlib", "cp1252", "Größe"),
        ("iso-8859-1", "utf-8", "Größe"),
        (None, "cp1252", "Größe"),
    ],
)
def test_a_declared_encoding_is_read_as_browsers_do_unless_the_bytes_say_otherwise(
    declared: str | None, encoding: str, text: str
) -> None:
    assert decode(text.encode(encoding), declared) == text


def test_a_damaged_byte_in_utf8_costs_one_character() -> None:
    text = "Größe und Maß, schöne Grüße. " * 5

    assert decode(text.encode() + b"\xff ok") == text + "\ufffd ok"
    assert decode((text + "ä").encode()[:-1]) == text + "\ufffd"


def test_an_encoding_is_found_by_letters_far_behind_the_beginning() -> None:
    text = "plain " * 100_000 + "Le café est ouvert à midi; où êtes-vous, garçon ? Déjà vu."

    assert decode(text.encode("cp1252")) == text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PK\x00\x01", r"binary \(holds NUL bytes\)"),
        (codecs.BOM_UTF16_LE + b"a", r"not UTF-16 text, though it is marked so \(byte 2\)"),
        (bytes(range(1, 256)) * 9, r"binary \(holds control characters\)"),
        (b"\xfe\x81\x8d\x8f\x90\x9d\xff" * 9, "not text in a known encoding; save it as UTF-8"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(StorageError, match=reason):
        decode(data)
