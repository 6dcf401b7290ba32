from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import pytest
from fakes.comparison import Comparison, make_comparison
from fakes.decided import card_of, make_valued, raced_card, usual_card, valued_card

from eval.report.card import Card
from eval.report.page import to_html
from eval.report.tables import to_markdown
from router.deciding.policy import Limits, Policy, Prices

VOID = {"meta", "br", "link", "img", "hr", "input", "path", "use", "rect"}


class Page(HTMLParser):
    """Checks that tags nest and keeps what a test asks for."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes something else at line {self.getpos()[0]}"

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@cache
def usual_page() -> str:
    """The page of the comparison as it is."""
    return to_html(usual_card())


def words_of(card: Card) -> str:
    return Page(to_html(card)).words


@pytest.mark.slow
def test_the_page_is_well_formed_and_asks_for_nothing() -> None:
    text = usual_page()
    parsed = Page(text)
    assert parsed.open == []
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert "<script" not in text
    assert not {tag for tag, _ in parsed.tags} & {"img", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in parsed.tags:
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")  # type: ignore[union-attr]
    assert "@import" not in text
    assert re.findall(r"url\((?!#)", text) == []
    assert "default-src 'none'" in text


@pytest.mark.slow
def test_the_page_is_accessible() -> None:
    tags = Page(usual_page()).tags
    assert [a.get("lang") for tag, a in tags if tag == "html"] == ["en"]
    assert sum(tag == "h1" for tag, _ in tags) == 1
    assert all(a.get("scope") in ("row", "col") for tag, a in tags if tag == "th")
    drawings = [a for tag, a in tags if tag == "svg"]
    assert len(drawings) == 6
    assert all(a.get("role") == "img" for a in drawings)
    assert sum(tag == "desc" for tag, _ in tags) == 6
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["aria-labelledby"] for _, a in tags if "aria-labelledby" in a} <= set(ids)
    links = {str(a["href"]).removeprefix("#") for tag, a in tags if tag == "a"}
    assert links <= set(ids)


def test_the_page_tells_the_decision_and_its_evidence(comparison: Comparison) -> None:
    words = Page(usual_page()).words
    assert words.count(usual_card()["summary"]["headline"]) == 1
    assert comparison.decision.reason in words
    for evidence in (
        "This would change if the margin were 0.425 instead of 0.03: then tuned.",
        "hybrid and tuned_rag cost the same.",
        "20 questions are too few to count on seeing any difference.",
        "16 of 20",
        "sign-flip permutation",
        "significantly worse",
        "on the Pareto front",
        "retrieval missed",
        "kind: fact",
        "kind: format",
        "1 min 41 s",
        "4.2 s",
        "policy.prices.prompt 0.1",
        "policy.traffic.questions 10,000",
        "fact-11: the prompt is longer than the engine's limit of 2048 tokens",
        "judge_faithfulness: the judge 'small'",
        "torch 2.13.0, ragas 0.4.3",
        "sha256 5f0c",
        "raft@81aa",
        "19.5 MB",
        "2e-05 of 8.3",
        "not measured",
        "arbiter run demo.yaml",
    ):
        assert evidence in words, evidence


def test_the_page_shows_the_worst_loss_of_the_chosen_arm_first() -> None:
    words = Page(usual_page()).words
    examples = words[words.index("Where the arms disagree") :]
    # fact-0 is known to base and lost by hybrid (-1), note-5 half known to fewshot (-0.5); the rest only hybrid knows.
    questions = ["fact number 0 of", "Member note 5", "fact number 7 of", "fact number 9 of", "Member note 7"]
    places = [examples.index(question) for question in questions]
    assert places == sorted(places)
    assert "hybrid -1.00" in examples[: places[1]]
    assert "doc-0 ✓ (cited)" in examples[: places[1]]
    assert "known without help" in examples[: places[1]]


@pytest.mark.slow
def test_a_race_is_told_with_its_drops_and_its_untouched_questions() -> None:
    # As it comes back from its file.
    words = words_of(json.loads(json.dumps(raced_card())))
    for evidence in (
        "82 of 120 answers were needed (68%)",
        "On untouched questions 0.80",
        "lead +0.40",
        "Arms were raced over 15 questions",
        "the questions that they were asked",
        "base dropped",
        "12 rag 0.03",
        "sign-flip permutation",
        "There were up to 5 looks",
        "The p-values allow for all looks of the race",
        "not asked",
    ):
        assert evidence in words, evidence
    assert "Holm" not in words


@pytest.mark.slow
def test_a_decision_by_utility_is_told_in_currency() -> None:
    words = words_of(valued_card())
    for evidence in (
        # 16 of 20 right, the answer that failed among the wrong ones.
        "an expected utility of 0.6 a question",
        "Expected utility 0.6",
        "worth -1",
        "80%",
        "the highest expected utility",
        "counts utility from 0 to 1",
    ):
        assert evidence in words, evidence


@pytest.mark.slow
def test_floors_limits_and_unknown_costs_are_marked(comparison: Comparison) -> None:
    card = replace(
        comparison.scorecard,
        floors={"nearest training answer": (1.0,) * 15 + (0.0,) * 5},
        metric_of={"default": "token_f1", "format": "exact_match"},
    )
    policy = Policy(limits=Limits(latency_ms=405.0), prices=Prices(engine_hour=1.0))
    found = card_of(replace(comparison, scorecard=card, policy=policy))
    assert found["decision"]["arm"] == "base"
    words = words_of(found)
    for evidence in (
        "nearest training answer floor",
        "they cannot be chosen",
        "format by exact_match",
        "tuned_rag is excluded: median latency 925.5 ms is over the limit of 405 ms",
        "limits.latency_ms 405.0",
        "hybrid scores higher (0.78 token_f1) but may not be served",
        "Cost of 1,000 questions unknown",
        "not measured are its engine seconds",
        "engine seconds were not measured",
    ):
        assert evidence in words, evidence


@pytest.mark.slow
def test_what_people_models_and_documents_say_is_escaped(comparison: Comparison) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    rename = {s.arm.name: f"{s.arm.name}<i>" for s in comparison.scorecard.arms}
    changed = replace(
        comparison,
        questions=tuple(
            replace(q, text=q.text + evil, answers=(evil,), metadata={"kind": evil + q.id[:4]})
            for q in comparison.questions
        ),
        records=tuple(
            replace(
                r,
                arm=rename[r.arm],
                text=r.text + evil,
                passage_documents=tuple(name + evil for name in r.passage_documents),
                error=evil if r.error else None,
            )
            for r in comparison.records
        ),
        scorecard=replace(
            comparison.scorecard,
            arms=tuple(
                replace(
                    s, arm=replace(s.arm, name=rename[s.arm.name], adapter=evil), errors=dict.fromkeys(s.errors, evil)
                )
                for s in comparison.scorecard.arms
            ),
            provenance={evil: [evil]},
            diagnostics=(evil,),
            floors={evil: (0.0,) * 20},
        ),
    )
    text = to_html(card_of(changed, title=evil, command=evil, notes=(evil,)))
    assert "<script" not in text
    assert "<img" not in text
    assert "<i>" not in text
    assert text.count("&lt;script&gt;") > 20
    assert Page(text).open == []


@pytest.mark.slow
def test_every_interval_says_the_level_of_the_error_rate(comparison: Comparison) -> None:
    policy = replace(comparison.policy, alpha=0.1)
    for one in (
        replace(comparison, policy=policy),
        replace(make_valued(), policy=replace(make_valued().policy, alpha=0.1)),
    ):
        card = card_of(one)
        text = to_html(card) + to_markdown(card)
        assert "90% interval" in text
        assert "95% interval" not in text


@pytest.mark.slow
def test_a_single_arm_without_documents_or_kinds_has_a_page(comparison: Comparison) -> None:
    lonely = replace(
        comparison,
        questions=tuple(replace(q, document_ids=(), metadata={}) for q in comparison.questions),
        scorecard=replace(comparison.scorecard, arms=comparison.scorecard.arms[:1], provenance={}, diagnostics=()),
    )
    text = to_html(card_of(lonely))
    assert Page(text).open == []
    for section in ("Slices of the questions", "Where the arms disagree", "Diagnostics", "Confidence", "The race"):
        assert section not in text
    assert text.count("<svg") == 1


@pytest.mark.slow
def test_importing_the_card_and_its_views_loads_neither_matplotlib_nor_jinja() -> None:
    code = (
        "import sys, eval.report.card, eval.report.page, eval.report.tables; "
        "sys.exit(any(name in sys.modules for name in ('matplotlib', 'jinja2', 'scipy', 'statsmodels')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow  # it draws every plot again
def test_gates_have_a_section_with_what_they_found() -> None:
    evil = "<script>alert(1)</script>"
    row = {
        "gate": "forgetting",
        "title": "Forgetting",
        "arm": "hybrid",
        "verdict": "fail",
        "says": f"half is lost {evil}",
        "limit": 0.2,
        "is_required": True,
        "estimate": {"mean": 0.5, "low": 0.34, "high": 0.66},
        "num_items": 40,
        "num_judged": 38,
        "source": "somebody",
        "examples": [{"question": f"2 + 2? {evil}", "answer": "card", "without": "4"}],
    }
    text = to_html(card_of(make_comparison(), gates=[row, {**row, "verdict": None, "estimate": None, "examples": []}]))
    page = Page(text)
    assert page.open == []
    assert "<script" not in text
    for evidence in ("Gates before promotion", "34% to 66%", "half is lost", "not measured", "without it: 4"):
        assert evidence in page.words, evidence
    assert "Gates before promotion" not in to_html(usual_card())
