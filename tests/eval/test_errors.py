from eval.errors import one_line


def test_a_long_text_is_cut_to_one_line() -> None:
    assert one_line("one\ntwo   three", 9) == "one two…"
    assert one_line("short", 9) == "short"
