from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from fakes.comparison import Comparison

from eval.report import as_percent, headline, leader_of, side_by_side, to_html, to_json, to_markdown
from router.recommend import Decision, Policy
from router.scorecard import Scorecard

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


def page(comparison: Comparison, decision: Decision | None = None, title: str = "Lake library") -> str:
    return to_html(
        comparison.scorecard,
        decision or comparison.decision,
        comparison.policy,
        comparison.questions,
        comparison.records,
        title=title,
        command="arbiter run demo.yaml",
    )


def without_scores_of(card: Scorecard, arm: str) -> Scorecard:
    arms = [
        replace(
            s, scores={m: (None,) * len(v) for m, v in s.scores.items()}, latency_ms=(None,) * len(card.question_ids)
        )
        if s.arm.name == arm
        else s
        for s in card.arms
    ]
    return replace(card, arms=tuple(arms))


def test_rows_are_best_first_with_numbers_counted_by_hand(comparison: Comparison) -> None:
    rows = side_by_side(comparison.scorecard, comparison.decision, comparison.policy)
    assert [row["arm"] for row in rows] == ["hybrid", "tuned_rag", "tuned", "rag", "fewshot", "base"]
    hybrid, base = rows[0], rows[-1]
    # hybrid: 15 right, one half right, 3 wrong, 1 failed: (15 + 0.5) / 19.
    assert hybrid["primary"] is not None
    assert hybrid["primary"]["mean"] == pytest.approx(15.5 / 19)
    assert hybrid["primary"]["low"] < 15.5 / 19 < hybrid["primary"]["high"]
    assert (hybrid["num_right"], hybrid["num_unscored"], hybrid["num_errors"], hybrid["num_questions"]) == (
        16,
        1,
        1,
        20,
    )
    assert hybrid["metrics"]["exact_match"]["mean"] == pytest.approx(15 / 19)
    assert [row["arm"] for row in rows if row["is_chosen"]] == ["hybrid"]
    # base: 48 prompt tokens plus the question's number, mean 57.5; generated 3, 4, 5, 6, ... mean 4.5.
    assert (base["prompt_tokens"], base["generated_tokens"]) == (57.5, 4.5)
    assert base["cost_per_1k"] == pytest.approx(1000 * (57.5 * 0.10 + 4.5 * 0.40) / 1e6)
    assert "context_recall" not in base["metrics"]


def test_an_arm_without_scores_comes_last_and_has_no_mean(comparison: Comparison) -> None:
    card = without_scores_of(comparison.scorecard, "rag")
    changed = replace(comparison, scorecard=card)
    row = side_by_side(card, changed.decision, changed.policy)[-1]
    assert (row["arm"], row["primary"], row["metrics"], row["num_unscored"]) == ("rag", None, {}, 20)
    assert row["excluded"] is not None
    assert "no question was scored" in row["excluded"]


def test_json_has_exactly_the_agreed_shape(comparison: Comparison) -> None:
    row = to_json("/runs/1", comparison.scorecard, comparison.decision)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert list(row) == ["run", "arms", "decision"]
    assert row["run"] == "/runs/1"
    arms = row["arms"]
    assert isinstance(arms, list)
    assert [arm["name"] for arm in arms] == ["base", "fewshot", "rag", "tuned", "tuned_rag", "hybrid"]
    for arm in arms:
        assert list(arm) == ["name", "kind", "num_questions", "num_unscored", "metrics", "latency_ms", "tokens"]
        for metric in arm["metrics"].values():
            assert list(metric) == ["mean", "low", "high"]
    base = arms[0]
    assert (base["kind"], base["num_questions"], base["num_unscored"], base["latency_ms"]) == ("base", 20, 0, 400.0)
    assert base["tokens"] == 20 * 57.5 + 20 * 4.5
    assert "context_recall" not in base["metrics"]
    assert arms[-1]["num_unscored"] == 1
    decision = row["decision"]
    assert isinstance(decision, dict)
    assert list(decision) == ["arm", "verdict", "confidence", "margin", "runner_up", "reason"]
    assert (decision["arm"], decision["verdict"], decision["runner_up"]) == ("hybrid", "winner", "tuned_rag")
    assert decision["margin"] == comparison.decision.margin


def test_json_of_an_arm_without_scores_has_no_metrics_and_no_latency(comparison: Comparison) -> None:
    card = without_scores_of(comparison.scorecard, "rag")
    arms = to_json("/runs/1", card, replace(comparison, scorecard=card).decision)["arms"]
    assert isinstance(arms, list)
    assert (arms[2]["name"], arms[2]["metrics"], arms[2]["latency_ms"]) == ("rag", {}, None)


def test_json_never_holds_nan(comparison: Comparison) -> None:
    nan = float("nan")
    card = comparison.scorecard
    arms = tuple(replace(s, scores={**s.scores, "broken": (nan,) * 20}) for s in card.arms)
    row = to_json("/runs/1", replace(card, arms=arms), comparison.decision)
    assert "broken" not in json.dumps(row, allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"verdict": "winner", "margin": 0.42, "confidence": 0.97},
            "Serve hybrid, the winner: 0.82 token_f1 on 20 questions, 0.42 ahead of tuned_rag, with 97% confidence.",
        ),
        (
            {"verdict": "tie", "margin": -0.01, "confidence": 0.974},
            "Serve hybrid, a tie within 0.03 in which it costs least: 0.82 token_f1 on 20 questions, "
            "0.01 behind tuned_rag, with 97% confidence.",
        ),
        (
            {"verdict": "undecided", "margin": 0.04, "confidence": 0.6, "more_questions": 1200},
            "Serve hybrid for now, undecided: 0.82 token_f1 on 20 questions, 0.04 ahead of tuned_rag; about 1,200 more "
            "questions would settle it (60% confidence that no arm is better by more than 0.03).",
        ),
        (
            {"verdict": "winner", "runner_up": None},
            "Serve hybrid: 0.82 token_f1 on 20 questions; there was no other arm to compare it with.",
        ),
    ],
)
def test_the_headline_says_the_decision_in_one_sentence(
    comparison: Comparison, changes: dict[str, object], sentence: str
) -> None:
    decision = replace(comparison.decision, **changes)  # type: ignore[arg-type]
    assert headline(comparison.scorecard, decision, comparison.policy) == sentence
    assert Page(page(comparison, decision)).words.count(sentence) == 1


@pytest.mark.parametrize(
    ("share", "words"), [(1.0, ">99%"), (0.995, ">99%"), (0.99, "99%"), (0.5, "50%"), (0.01, "1%"), (0.0, "<1%")]
)
def test_confidence_never_claims_certainty(share: float, words: str) -> None:
    assert as_percent(share) == words


def test_markdown_has_padded_tables_with_the_chosen_arm_marked(comparison: Comparison) -> None:
    text = to_markdown(comparison.scorecard, comparison.decision, comparison.policy)
    lines = text.splitlines()
    assert lines[0].startswith("Serve hybrid")
    table = lines[2:10]
    assert len({len(line) for line in table}) == 1
    assert re.match(r"\| \*hybrid +\| hybrid +\| 0\.82 ", table[2])
    assert comparison.decision.reason in text
    assert "significantly worse" in text
    assert "- judge_faithfulness: the judge" in text
    assert "nan" not in text


def test_markdown_escapes_what_would_break_a_table(comparison: Comparison) -> None:
    arms = tuple(replace(s, arm=replace(s.arm, name=s.arm.name + "|x\ny")) for s in comparison.scorecard.arms)
    changed = replace(comparison, scorecard=replace(comparison.scorecard, arms=arms))
    text = to_markdown(changed.scorecard, changed.decision, changed.policy)
    assert "*hybrid\\|x y" in text


def test_the_page_is_well_formed_and_asks_for_nothing(comparison: Comparison) -> None:
    text = page(comparison)
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


def test_the_page_is_accessible(comparison: Comparison) -> None:
    parsed = Page(page(comparison))
    tags = parsed.tags
    assert [a.get("lang") for tag, a in tags if tag == "html"] == ["en"]
    assert sum(tag == "h1" for tag, _ in tags) == 1
    assert all(a.get("scope") in ("row", "col") for tag, a in tags if tag == "th")
    drawings = [a for tag, a in tags if tag == "svg"]
    assert len(drawings) == 4
    assert all(a.get("role") == "img" for a in drawings)
    assert sum(tag == "desc" for tag, _ in tags) == 4
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["aria-labelledby"] for _, a in tags if "aria-labelledby" in a} <= set(ids)


def test_the_page_tells_the_decision_and_its_evidence(comparison: Comparison) -> None:
    words = Page(page(comparison)).words
    assert comparison.decision.reason in words
    for evidence in (
        "16 of 20",
        "sign-flip permutation",
        "significantly worse",
        "retrieval missed",
        "By kind of question",
        "fact",
        "format",
        "1 min 41 s",
        "4.2 s",
        "fact-11: the prompt is longer than the engine's limit of 2048 tokens",
        "judge_faithfulness: the judge 'small'",
        "torch 2.13.0, ragas 0.4.3",
        "sha256 5f0c",
        "raft@81aa",
        "arbiter run demo.yaml",
    ):
        assert evidence in words, evidence


def test_the_page_shows_the_worst_loss_of_the_chosen_arm_first(comparison: Comparison) -> None:
    words = Page(page(comparison)).words
    examples = words[words.index("Where the arms disagree") :]
    # fact-0 is known to base and lost by hybrid (-1), note-5 half known to fewshot (-0.5); the rest only hybrid knows.
    questions = ["fact number 0 of", "Member note 5", "fact number 7 of", "fact number 9 of", "Member note 7"]
    places = [examples.index(question) for question in questions]
    assert places == sorted(places)
    assert "hybrid -1.00" in examples[: places[1]]
    assert "doc-0 ✓ (cited)" in examples[: places[1]]


def test_what_models_and_documents_say_is_escaped(comparison: Comparison) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    changed = replace(
        comparison,
        questions=tuple(
            replace(q, text=q.text + evil, answers=(evil,), metadata={"kind": evil + q.id[:4]})
            for q in comparison.questions
        ),
        records=tuple(
            replace(
                r,
                text=r.text + evil,
                passage_documents=tuple(name + evil for name in r.passage_documents),
                error=evil if r.error else None,
            )
            for r in comparison.records
        ),
        scorecard=replace(
            comparison.scorecard,
            arms=tuple(
                replace(s, arm=replace(s.arm, adapter=evil), errors=dict.fromkeys(s.errors, evil))
                for s in comparison.scorecard.arms
            ),
            provenance={evil: [evil]},
            diagnostics=(evil,),
        ),
    )
    text = page(changed, title=evil)
    assert "<script" not in text
    assert "<img" not in text
    assert text.count("&lt;script&gt;") > 20
    assert Page(text).open == []


def test_arm_names_are_escaped_in_plots_too(comparison: Comparison) -> None:
    rename = {s.arm.name: f"{s.arm.name}<i>" for s in comparison.scorecard.arms}
    changed = replace(
        comparison,
        records=tuple(replace(r, arm=rename[r.arm]) for r in comparison.records),
        scorecard=replace(
            comparison.scorecard,
            arms=tuple(replace(s, arm=replace(s.arm, name=rename[s.arm.name])) for s in comparison.scorecard.arms),
        ),
    )
    assert "<i>" not in page(changed)


def test_a_single_arm_without_documents_or_kinds_has_a_page(comparison: Comparison) -> None:
    lonely = replace(
        comparison,
        questions=tuple(replace(q, document_ids=(), metadata={}) for q in comparison.questions),
        scorecard=replace(comparison.scorecard, arms=comparison.scorecard.arms[:1], provenance={}, diagnostics=()),
    )
    text = page(lonely)
    assert Page(text).open == []
    for section in (
        "Where answers fail",
        "By kind of question",
        "Where the arms disagree",
        "Diagnostics",
        "Confidence",
    ):
        assert section not in text
    assert text.count("<svg") == 1


def test_an_excluded_arm_is_shown_with_the_reason(comparison: Comparison) -> None:
    strict = replace(comparison, policy=Policy(max_latency_ms=875.0))
    words = Page(page(strict)).words
    assert "tuned_rag is excluded: median latency 930 ms is over the limit of 875 ms" in words
    assert "at most 875.0 ms" in words
    assert "Lead of hybrid" in words


def test_the_leader_of_a_tie_is_the_arm_that_the_comparisons_are_against(comparison: Comparison) -> None:
    decision = replace(comparison.decision, arm="tuned", verdict="tie")
    assert leader_of(comparison.scorecard, decision) == "hybrid"
    assert "Lead of hybrid" in Page(page(comparison, decision)).words


def test_many_kinds_are_cut_to_the_most_frequent(comparison: Comparison) -> None:
    kinds = replace(
        comparison,
        questions=tuple(
            replace(q, metadata={"kind": "usual" if i < 6 else f"rare-{i}"}) for i, q in enumerate(comparison.questions)
        ),
    )
    words = Page(page(kinds)).words
    section = words[words.index("By kind of question") : words.index("Where the arms disagree")]
    assert section.count("rare-") == 11
    assert section.index("usual") < section.index("rare-")
