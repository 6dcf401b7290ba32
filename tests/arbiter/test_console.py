import io
import json

from arbiter.console import Console


def test_progress_never_touches_standard_output() -> None:
    out, err = io.StringIO(), io.StringIO()
    console = Console(is_json=True, stdout=out, stderr=err)
    with console.step("embedding") as step:
        step.update(1, 2, "note")
    console.say("a notice [with brackets]")
    console.result("a table", {"a": 1})
    assert json.loads(out.getvalue()) == {"a": 1}
    assert "embedding" in err.getvalue()
    assert "a notice [with brackets]" in err.getvalue()


def test_without_json_the_text_is_printed() -> None:
    out = io.StringIO()
    Console(stdout=out, stderr=io.StringIO()).result("a table\n", {"a": 1})
    assert out.getvalue() == "a table\n"
