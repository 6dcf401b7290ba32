"""Judges of every kind on a real HTTP server: the honest one is certified, the others fail for their own reason."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from fakes.judges import (
    Reply,
    ScriptedJudge,
    first_lover,
    generous,
    honest,
    length_lover,
    noisy,
    prose,
    serve_judge,
)
from fakes.logs import Logged

from eval.errors import EvalError
from eval.judge.asking import GIVE_UP_AFTER, Ask, Outcome, ask_all
from eval.judge.certificate import Certificate
from eval.judge.certification import REPEATS, certify, plan_asks
from eval.judge.labels import LabelledAnswer, LabelledPair
from eval.settings import JudgeEndpoint
from router.deciding.policy import Prices

# 15 right and 15 wrong answers; 20 pairs, the chosen one longer in half of them.
LABELLED = [
    LabelledAnswer(f"What is number {i}?", f"It is {i if i % 2 else 'unknown'}.", (f"is {i}.",), bool(i % 2))
    for i in range(30)
]
PAIRS = [LabelledPair(f"Say {i}.", "good" + " indeed" * (i % 2), "bad" + " indeed" * (1 - i % 2)) for i in range(20)]
# 30 answers, 10 of them twice again, 20 pairs in two orders.
NUM_ASKS = 30 + 10 * 2 + 20 * 2


def certified(judge: ScriptedJudge, tmp_path: Path, **options: Any) -> Certificate:
    settings: dict[str, Any] = {"timeout_s": 5.0, "concurrency": 4}
    settings |= {key: options.pop(key) for key in ("timeout_s", "concurrency") if key in options}
    endpoint = JudgeEndpoint(judge.url, "judge", **settings)
    given: dict[str, Any] = {"pairs": PAIRS, "repeat_rows": 10, "cache": tmp_path / "verdicts.db", **options}
    return certify(endpoint, LABELLED, clock=lambda: 1.7e9, **given)


@pytest.mark.slow
def test_an_honest_judge_is_certified(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with serve_judge() as judge:
        found = certified(
            judge, tmp_path, prices=Prices(prompt=1.0, generated=2.0), progress=lambda done, of: seen.append((done, of))
        )
    assert found.reasons() == ()
    assert found.not_measured() == ()
    assert found.agreement is not None
    assert found.agreement.accuracy.mean == 1.0
    assert found.repeats is not None
    assert (found.repeats.num_rows, found.repeats.flip_rate.mean, found.repeats.mean_variance) == (10, 0.0, 0.0)
    assert found.position is not None
    assert (found.position.order_dependent.mean, found.position.accuracy.mean) == (0.0, 1.0)
    assert found.length is not None
    assert (found.length.label_longer, found.length.gap.mean) == (0.5, 0.0)
    assert found.calls.num_calls == len(judge.requests) == NUM_ASKS
    assert (found.calls.prompt_tokens, found.calls.generated_tokens) == (100.0, 10.0)
    assert found.calls.price == pytest.approx(120 / 1e6)
    assert found.issued_at == 1.7e9
    assert seen[0] == (0, NUM_ASKS)
    assert seen[-1] == (NUM_ASKS, NUM_ASKS)


@pytest.mark.slow
async def test_a_notebook_certifies_inside_its_own_loop(tmp_path: Path) -> None:
    with serve_judge() as judge:
        assert certified(judge, tmp_path).reasons() == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "asked", "reasons"),
    [
        (noisy(seed=1), {"pairs": ()}, ("kappa", "asked again")),
        (generous, {"pairs": (), "repeats": 1}, ("kappa 0.00",)),
        (first_lover, {"repeats": 1}, ("the winner depends on the order", "the first response is preferred")),
        (length_lover, {"repeats": 1}, ("the longer response is preferred",)),
        (prose, {"pairs": (), "repeats": 1}, ("no usable verdict on any", "100% of 30 asks gave no usable verdict")),
    ],
)
def test_a_judge_fails_for_its_own_reason(
    tmp_path: Path, reply: Reply, asked: dict[str, Any], reasons: tuple[str, ...]
) -> None:
    with serve_judge(reply=reply) as judge:
        found = certified(judge, tmp_path, **asked)
    assert not found.is_certified
    for reason in reasons:
        assert any(reason in line for line in found.reasons()), found.reasons()
    if reply is first_lover or reply is length_lover:
        # What it says of one answer is right, and nothing else is wrong with it.
        assert found.agreement is not None
        assert found.agreement.accuracy.mean == 1.0
        assert len(found.reasons()) == len(reasons)


def failing_every_tenth_row(failure: str) -> Reply:
    def reply(schema: str, given: Mapping[str, Any]) -> str:
        is_hit = schema == "Correctness" and given["question"].endswith("5?")  # 3 of 30 rows
        return failure if is_hit else honest(schema, given)

    return reply


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        ("I think so.", "no JSON"),
        ('{"reason": "r", "value": "maybe"}', "no valid verdict"),
        ('{"reason": "r", "value": NaN}', "no valid verdict"),
        ('{"reason": "r", "value": 1}', "no valid verdict"),
        ("", "no JSON"),
    ],
)
def test_replies_without_a_verdict_are_counted_by_kind_and_never_a_score(
    tmp_path: Path, failure: str, kind: str
) -> None:
    with serve_judge(reply=failing_every_tenth_row(failure)) as judge:
        found = certified(judge, tmp_path, pairs=(), repeats=1)
    assert found.calls.failures == {kind: 3}
    assert found.agreement is not None
    assert found.agreement.num_rows == 27
    assert found.agreement.accuracy.mean == 1.0
    assert any("10% of 30 asks gave no usable verdict" in line for line in found.reasons())


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}```", "Here it is:\n\n```JSON\n{}\n```\nDone."])
def test_a_verdict_in_a_markdown_fence_is_read(tmp_path: Path, fence: str) -> None:
    def reply(schema: str, given: Mapping[str, Any]) -> str:
        return fence.replace("{}", honest(schema, given))

    with serve_judge(reply=reply) as judge:
        found = certified(judge, tmp_path, pairs=(), repeats=1)
    assert found.calls.failures == {}
    assert found.agreement is not None
    assert (found.agreement.num_rows, found.agreement.accuracy.mean) == (30, 1.0)


async def test_a_reply_that_cannot_be_read_is_shown() -> None:
    heard: list[Outcome] = []
    with serve_judge(reply=prose) as server:
        ask = Ask("judge_correctness", ("When?", ("nine",), "nine"))
        await ask_all(JudgeEndpoint(server.url, "judge"), [ask], lambda _, outcome: heard.append(outcome))
    (outcome,) = heard
    assert (outcome.failure, outcome.reason) == ("no JSON", "no usable reply; it begins 'Well, I would say so.'")


@pytest.mark.parametrize("status", [429, 500, 400])
def test_http_errors_now_and_then_are_counted_by_status(tmp_path: Path, status: int) -> None:
    # Two requests in five fail; a 429 or 500 is tried again once, so only those that fail twice in a row are lost.
    with serve_judge(status=lambda number: status if number % 5 in (0, 1) else 200) as judge:
        found = certified(judge, tmp_path, pairs=(), repeats=1, concurrency=1)
    assert set(found.calls.failures) == {f"HTTP {status}"}
    assert found.calls.nan_rate > 0.05
    assert any(f"HTTP {status}" in line for line in found.reasons())


@pytest.mark.slow
def test_time_outs_now_and_then_are_counted(tmp_path: Path) -> None:
    held = threading.Event()

    def slow_for_some(schema: str, given: Mapping[str, Any]) -> str:
        if given.get("question", "").endswith(" 7?"):
            held.wait(30)
        return honest(schema, given)

    with serve_judge(reply=slow_for_some) as judge:
        found = certified(judge, tmp_path, pairs=(), repeats=1, timeout_s=0.5)
        held.set()
    assert set(found.calls.failures) == {"time-out"}
    assert found.agreement is not None
    assert found.agreement.num_rows == 30 - found.calls.failures["time-out"]


@pytest.mark.parametrize(("status", "shown"), [(429, "HTTP 429"), (500, "HTTP 500"), (401, "HTTP 401")])
def test_a_judge_that_only_refuses_is_given_up_after_a_few_tries(tmp_path: Path, status: int, shown: str) -> None:
    with (
        serve_judge(status=lambda number: status) as judge,
        pytest.raises(EvalError, match=f"judge 'judge' at {judge.url} cannot be reached: {shown}"),
    ):
        certified(judge, tmp_path, concurrency=1)
    assert len(judge.requests) <= 2 * GIVE_UP_AFTER


@pytest.mark.slow
def test_a_hanging_judge_is_given_up_and_not_waited_for(tmp_path: Path) -> None:
    started = time.monotonic()
    with serve_judge(delay_s=60) as judge, pytest.raises(EvalError, match="time-out"):
        certified(judge, tmp_path, timeout_s=0.2, concurrency=8)
    assert time.monotonic() - started < 10


def test_an_answer_that_was_under_way_does_not_bring_back_a_judge_that_was_given_up(tmp_path: Path) -> None:
    is_given_up = threading.Event()

    def late(schema: str, given: Mapping[str, Any]) -> str:
        is_given_up.wait(30)
        return honest(schema, given)

    def progress(num_done: int, num_asks: int) -> None:
        if num_done == num_asks - 1:
            is_given_up.set()

    with (
        serve_judge(reply=late, status=lambda number: 200 if number == 1 else 503) as judge,
        pytest.raises(EvalError, match=r"cannot be reached: HTTP 503 .* it goes on where it stopped"),
    ):
        certified(judge, tmp_path, progress=progress)


@pytest.mark.slow
def test_a_judge_that_is_not_there_is_one_line_of_error(tmp_path: Path) -> None:
    with pytest.raises(
        EvalError, match=r"cannot be reached: no connection \(Connection error\.\); correct eval\.judge"
    ):
        certify(JudgeEndpoint("http://127.0.0.1:9/v1", "judge", timeout_s=2.0), LABELLED[:2], cache=tmp_path / "v.db")


@pytest.mark.slow
def test_a_stopped_certification_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with serve_judge() as judge:
        judge.status = lambda number: 200 if number <= 20 else 503
        with pytest.raises(EvalError, match="goes on where it stopped"):
            certified(judge, tmp_path, concurrency=1, pairs=())
        judge.status = lambda number: 200
        judge.requests.clear()
        found = certified(judge, tmp_path, concurrency=1, pairs=())
        assert found.is_certified
        assert found.calls.failures == {}
        # Those it was away for are asked; of the twenty that it answered none is.
        assert len(judge.requests) == 50 - 20
        judge.requests.clear()
        assert certified(judge, tmp_path, concurrency=1, pairs=()) == found
        assert judge.requests == []


@pytest.mark.slow
def test_what_did_not_reach_the_judge_is_asked_again_by_the_next_certification(tmp_path: Path) -> None:
    with serve_judge(status=lambda number: 500 if number <= 6 else 200) as judge:
        first = certified(judge, tmp_path, pairs=(), repeats=1, concurrency=1)
        assert first.calls.failures == {"HTTP 500": 3}  # each tried twice
        second = certified(judge, tmp_path, pairs=(), repeats=1, concurrency=1)
    assert second.calls.failures == {}
    assert len(judge.requests) == 6 + 27 + 3


@pytest.mark.slow
def test_repeats_vary_the_seed_and_the_temperature_and_never_come_from_the_cache(tmp_path: Path) -> None:
    with serve_judge() as judge:
        certified(judge, tmp_path, pairs=(), repeat_rows=1)
    repeated = [body for body in judge.bodies if "seed" in body]
    assert len(judge.bodies) == 32
    assert sorted(body["seed"] for body in repeated) == [1, 2]
    assert all(body["temperature"] > 0.1 for body in repeated)
    assert len({str(body["messages"]) for body in repeated}) == 1


@pytest.mark.slow
def test_a_judge_that_takes_no_seed_is_repeated_without_one(tmp_path: Path) -> None:
    with serve_judge() as judge:
        judge.status = lambda number: 400 if "seed" in judge.bodies[-1] else 200
        found = certified(judge, tmp_path, pairs=(), concurrency=1)
    assert found.calls.failures == {}
    assert found.repeats is not None
    assert found.repeats.num_rows == 10


@pytest.mark.slow
def test_without_pairs_the_biases_are_not_measured_and_it_is_said(tmp_path: Path) -> None:
    with serve_judge() as judge:
        found = certified(judge, tmp_path, pairs=PAIRS[:19], repeats=1)
    assert found.is_certified
    assert found.not_measured() == ("repeat variance", "position bias", "length bias")


@pytest.mark.slow
def test_verdicts_of_an_earlier_shape_are_no_damage(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "verdicts.db")) as db:
        db.execute("CREATE TABLE verdicts (key TEXT PRIMARY KEY, is_unreachable INTEGER NOT NULL, outcome TEXT)")
    with serve_judge() as judge:
        assert certified(judge, tmp_path, pairs=()).is_certified
    assert not (tmp_path / "verdicts.db.damaged").exists()


@pytest.mark.slow
def test_a_file_that_is_no_cache_is_set_aside_and_the_judge_is_asked(tmp_path: Path, logged: Logged) -> None:
    path = tmp_path / "v.db"
    path.write_text("not a database, and long enough to be seen as something else" * 20)
    with pytest.raises(EvalError, match="cannot be reached"):
        certify(JudgeEndpoint("http://127.0.0.1:9/v1", "judge"), LABELLED, cache=path)
    assert "the cache of verdicts 'v.db' was damaged" in logged.text
    assert (tmp_path / "v.db.damaged").is_file()


def test_the_plan_of_these_tests_is_what_they_count() -> None:
    verdicts, orders = plan_asks(LABELLED, PAIRS, REPEATS, 10)
    assert len({*chain(*verdicts, *orders)}) == NUM_ASKS


def test_a_plan_asks_rows_once_some_of_them_again_and_pairs_in_both_orders() -> None:
    labelled = [LabelledAnswer(f"q{i}", "r", ("g",), True) for i in range(10)]
    plan = plan_asks(labelled, [LabelledPair("p", "c", "r")], 3, 4)
    verdicts, orders = plan
    assert sorted(len(asks) for asks in verdicts) == [1] * 6 + [3] * 4
    assert [ask.inputs for ask in orders[0]] == [("p", "c", "r"), ("p", "r", "c")]
    # 10 first asks, 2 orders, 4 rows asked twice more.
    assert len({*chain(*verdicts, *orders)}) == 20
    assert len({ask.key for ask in chain(*verdicts, *orders)}) == 20
    assert plan == plan_asks(labelled, [LabelledPair("p", "c", "r")], 3, 4)


def test_equal_rows_are_asked_once() -> None:
    row = LabelledAnswer("q", "r", ("g",), True)
    verdicts, _ = plan_asks([row, row], [], 1, 30)
    assert len(verdicts) == 2
    assert len({*chain(*verdicts)}) == 1
