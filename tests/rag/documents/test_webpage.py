from __future__ import annotations

import pytest

from rag.documents.webpage import read_page


@pytest.mark.parametrize(
    "hidden",
    [
        "<div style='color:red; display : none'>Hidden</div>",
        "<div style='VISIBILITY:hidden'>Hidden</div>",
        "<p hidden>Hidden</p>",
        "<template><p>Hidden</p></template>",
        "<noscript>Hidden</noscript>",
        "<script type='application/json'>Hidden</script>",
        "<style>Hidden</style>",
        "<!-- Hidden -->",
        "<input type=hidden value=Hidden>",
        "<svg><title>Hidden</title></svg>",
    ],
)
def test_what_the_markup_hides_is_left_out(hidden: str) -> None:
    assert read_page(f"<title>T</title><p>Seen.</p>{hidden}<p>Too.</p>") == ("T", "Seen.\n\nToo.")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<html><body><p>One.</p></body><body><p>Two.</p></body></html>", "One.\n\nTwo."),
        ("<frameset><noframes>Frames are needed.</noframes></frameset>", "Frames are needed."),
        ("<details><summary>More</summary>Within.</details>", "More\n\nWithin."),
        ("<select><option>Red<option>Blue</select>", "Red\n\nBlue"),
        ("<p>Name: <input value='Ada'> <input type=checkbox checked>yes</p>", "Name: Ada [x] yes"),
        ("<p><input type=radio name=a value=1>one <input type=radio name=a value=2 checked>two</p>", "[ ] one [x] two"),
        ("<p>See <img src='data:image/png;base64,AAAA' alt='a chart'>.</p>", "See a chart."),
        ("<p>10<sup>6</sup> books<sup>a</sup></p>", "10⁶ booksa"),
        ("<p>Go <a href='#x'>up</a> or <a href='javascript:y()'>on</a>, <a href='/z'>away</a>.</p>", None),
        ("<p>one<p>two<ul><li>a<li>b</ul>", "one\n\ntwo\n\n* a\n* b"),
    ],
)
def test_what_a_reader_sees_is_kept(html: str, text: str | None) -> None:
    assert read_page(html)[1] == (text or "Go up or on, [away](/z).")


def test_a_heading_is_its_words() -> None:
    page = "<h2><a href='/a'>Opening</a> <b>hours</b> <a class=headerlink href='#hours'>¶</a></h2><p>Nine.</p>"

    assert read_page(page)[1].strip() == "## Opening hours\n\nNine."


def test_spanned_cells_keep_the_columns_of_the_others_true() -> None:
    table = (
        "<table><tr><th>Item<th>Kind<th>Fee</tr><tr><td rowspan=2>Book<td>late<td>1|2</tr><tr><td>lost<td>9</tr>"
        "<tr><td colspan=2>all<td rowspan=2>5</tr><tr><td>x<td>y</tr><tr><td><td> <td></tr></table>"
    )

    assert read_page(table)[1].strip().split("\n") == [
        "| Item | Kind | Fee |",
        "| --- | --- | --- |",
        "| Book | late | 1\\|2 |",
        "|  | lost | 9 |",
        "| all | | 5 |",
        "| x | y |  |",
    ]


def test_a_row_that_ends_before_a_spanning_cell_moves_no_cell_of_the_rows_below() -> None:
    rows = ("<th>a<th>b<th>c", "<td>1<td>2<td rowspan=2>3", "<td>x", "<td>p<td>q<td>r")
    table = f"<table><tr>{'</tr><tr>'.join(rows)}</tr></table>"

    assert read_page(table)[1].strip().split("\n")[-1] == "| p | q | r |"


def test_a_drawing_s_title_is_not_the_page_s() -> None:
    assert read_page("<svg><title>Menu</title></svg><p>Seen.</p>") == ("", "Seen.")


def test_a_table_with_column_groups_has_its_first_row_as_header() -> None:
    table = "<table><colgroup><col></colgroup><tr><td>a<td>b</tr><tr><td>1<td>2</tr></table>"

    assert read_page(table)[1].strip() == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_a_table_that_holds_tables_is_a_layout_and_the_inner_one_stays_a_table() -> None:
    page = "<table><tr><td><h1>Fees</h1><td><table><tr><td>k<td>v<tr><td>a<td>b</table></table>"

    assert read_page(page)[1].strip() == "# Fees\n\n| k | v |\n| --- | --- |\n| a | b |"


def test_a_span_that_is_no_number_or_far_too_large_does_no_harm() -> None:
    table = "<table><tr><td rowspan=99999999999>a<td colspan=x>b</tr><tr><td>c<td>d</tr></table>"

    assert read_page(table)[1].strip() == "| a | b |\n| --- | --- |\n| c | d |"


def test_a_page_nested_too_deeply_for_markdown_is_its_text() -> None:
    assert read_page("<div>" * 3000 + "<p>deep</p>" + "</div>" * 3000 + "<p>after</p>")[1] == "deep\nafter"
