import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fakes.decisions import FakeOpener, make_decision
from fakes.endpoints import listening, plain_client
from fakes.engines import ScriptedEngine, chunk

from eval.gates.measure import Measured
from eval.gates.results import keep_measured
from router.answering.engine import EngineRequest, Place
from router.errors import EngineRejected, EngineUnavailable
from serving.app import create_app
from serving.decisions.api import decision_routes
from serving.decisions.ledger import Ledger, RecordedDecision
from serving.decisions.promotion import Promoter
from serving.errors import ServingError
from serving.http.served import CurrentDecision
from storage.database import open_database

BASE, RAG, HYBRID = make_decision("base"), make_decision("rag"), make_decision("hybrid")
ELSEWHERE = make_decision("base", data="other-ffffff", run_id="other-ffffff-00000001")
ASKED: Any = [{"role": "user", "content": "When?"}]


class Desk:
    """A server that starts with the hybrid arm, over one ledger."""

    def __init__(self, home: Path, engine: ScriptedEngine) -> None:
        self.home = home
        self.engine = engine
        self.database = open_database(home)
        self.ledger = Ledger(self.database)
        if self.ledger.current(HYBRID.scope) is None:
            for decision in (BASE, RAG, ELSEWHERE, HYBRID):
                self.ledger.record(decision)
        self.opener = FakeOpener(engine)
        current = self.ledger.current(HYBRID.scope)
        assert current is not None
        current = CurrentDecision(self.opener.open(current))
        promoter = Promoter(current, self.ledger, self.opener, scope=HYBRID.scope)
        self.app = create_app(current, decision_routes(promoter))
        self._stack = ExitStack()

    def __enter__(self) -> "Desk":
        self.url = self._stack.enter_context(listening(self.app))
        self.http = self._stack.enter_context(plain_client(f"{self.url}/v1"))
        self.client = self._stack.enter_context(openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self.database.close()

    def promote(self, decision_id: str) -> httpx.Response:
        return self.http.post(f"/arbiter/decisions/{decision_id}/promote")

    def auto(self) -> tuple[str, str]:
        reply = self.client.chat.completions.with_raw_response.create(model="auto", messages=ASKED)
        return reply.headers["x-arbiter-arm"], reply.headers["x-arbiter-decision"]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Desk(tmp_path, ScriptedEngine(lambda _: "nine")) as desk:
        yield desk


def test_decisions_of_this_scope_are_listed_newest_first_in_pages(desk: Desk) -> None:
    first = desk.http.get("/arbiter/decisions", params={"limit": 2}).json()
    assert [row["arm"] for row in first["data"]] == ["hybrid", "rag"]
    assert (first["object"], first["has_more"], first["last_id"]) == ("list", True, RAG.id)
    rest = desk.http.get("/arbiter/decisions", params={"limit": 2, "after": first["last_id"]}).json()
    assert [row["arm"] for row in rest["data"]] == ["base"]
    assert rest["has_more"] is False
    row = first["data"][0]
    assert (row["id"], row["object"], row["verdict"], row["confidence"]) == (HYBRID.id, "decision", "winner", 0.975)
    assert row["is_current"] is True
    # Whether a decision is stale takes a look at all the data; a list of a hundred does not look a hundred times.
    assert "stale" not in row
    assert desk.opener.num_looked == 0
    one = desk.http.get(f"/arbiter/decisions/{HYBRID.id}").json()
    assert (one["stale"], one["stale_reason"]) == (False, None)
    assert desk.http.get("/arbiter/decisions", params={"after": "dec_x"}).json()["error"]["param"] == "after"


def test_a_promotion_changes_auto_at_once_and_a_rollback_returns_it(desk: Desk) -> None:
    assert desk.auto() == ("hybrid", HYBRID.id)
    promoted = desk.promote(RAG.id)
    assert promoted.status_code == 200
    assert promoted.json()["is_current"] is True
    assert promoted.json()["promotion"]["previous_id"] == HYBRID.id
    assert desk.opener.kept == ["rag"]
    assert desk.engine.requests[-1].messages[-1]["content"].endswith("a smoke question")  # type: ignore[attr-defined]
    assert desk.auto() == ("rag", RAG.id)
    assert desk.client.models.retrieve("auto").to_dict()["root"] == "org/base"
    back = desk.http.post("/arbiter/decisions/rollback")
    assert (back.status_code, back.json()["id"]) == (200, HYBRID.id)
    assert desk.opener.kept == ["rag", "hybrid"]
    assert desk.auto() == ("hybrid", HYBRID.id)
    nothing = desk.http.post("/arbiter/decisions/rollback")
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (409, "not_promotable")
    assert [entry["action"] for entry in desk.http.get(f"/arbiter/decisions/{RAG.id}").json()["promotions"]] == [
        "promote"
    ]


def test_a_rollback_by_id_is_of_the_current_decision_only(desk: Desk) -> None:
    desk.promote(RAG.id)
    refused = desk.http.post(f"/arbiter/decisions/{BASE.id}/rollback")
    assert (refused.status_code, desk.auto()[0]) == (409, "rag")
    assert desk.http.post(f"/arbiter/decisions/{RAG.id}/rollback").json()["id"] == HYBRID.id
    assert desk.http.post("/arbiter/decisions/dec_x/rollback").status_code == 404


@pytest.mark.slow
def test_a_promotion_outlives_the_server(tmp_path: Path) -> None:
    with Desk(tmp_path, ScriptedEngine(lambda _: "nine")) as desk:
        desk.promote(BASE.id)
    with Desk(tmp_path, ScriptedEngine(lambda _: "nine")) as desk:
        assert desk.auto() == ("base", BASE.id)
        assert desk.http.post("/arbiter/decisions/rollback").json()["id"] == HYBRID.id


def test_unknown_decisions_and_those_of_another_scope(desk: Desk) -> None:
    assert desk.promote("dec_x").status_code == 404
    assert desk.http.get("/arbiter/decisions/dec_x").status_code == 404
    assert desk.http.get(f"/arbiter/decisions/{ELSEWHERE.id}").status_code == 404
    refused = desk.promote(ELSEWHERE.id)
    assert refused.status_code == 409
    assert "serve its own config" in refused.json()["error"]["message"]


def test_a_stale_decision_is_flagged_and_not_promoted_but_can_be_rolled_back_to(desk: Desk) -> None:
    desk.opener.stale[RAG.id] = "the data has changed since; measure again with: arbiter run CONFIG"
    row = desk.http.get(f"/arbiter/decisions/{RAG.id}").json()
    assert (row["stale"], row["stale_reason"]) == (True, desk.opener.stale[RAG.id])
    refused = desk.promote(RAG.id)
    assert refused.status_code == 409
    assert "is stale: the data has changed since" in refused.json()["error"]["message"]
    desk.opener.stale = {HYBRID.id: "the data has changed since"}
    desk.promote(BASE.id)
    assert desk.http.post("/arbiter/decisions/rollback").json()["id"] == HYBRID.id


def rejected(_request: EngineRequest) -> str:
    raise EngineRejected("the prompt is too long", status=400)


def away(_request: EngineRequest) -> str:
    raise EngineUnavailable("the engine is restarting")


@pytest.mark.parametrize(("reply", "status"), [(rejected, 409), (away, 503)])
def test_an_arm_that_does_not_answer_is_not_promoted(desk: Desk, reply: Any, status: int) -> None:
    desk.engine.reply = reply
    assert desk.promote(RAG.id).status_code == status
    desk.engine.reply = lambda _: "nine"
    assert desk.auto() == ("hybrid", HYBRID.id)
    assert (desk.ledger.promotions(), desk.opener.kept) == ([], [])


def test_what_is_promoted_has_its_engine_held_from_its_smoke_question_to_its_first_request(tmp_path: Path) -> None:
    class Holding(ScriptedEngine):
        """Counts how often its models are held."""

        def __init__(self) -> None:
            super().__init__(lambda _: "nine")
            self.num_held = 0

        @asynccontextmanager
        async def hold(self, model: str) -> AsyncIterator[Place]:
            self.num_held += 1
            yield Place("http://engine.test/v1")
            self.num_held -= 1

    engine = Holding()
    with Desk(tmp_path, engine) as desk:
        held: list[int] = []
        desk.opener.keep = lambda _: held.append(engine.num_held)  # type: ignore[method-assign]
        assert desk.promote(RAG.id).status_code == 200
        assert (held, engine.num_held) == ([1], 0)


def test_a_decision_whose_parts_are_gone_is_not_promoted_or_rolled_back_to(desk: Desk) -> None:
    desk.opener.gone[BASE.id] = "adapter 'raft@1' is gone"
    refused = desk.promote(BASE.id)
    assert (refused.status_code, refused.json()["error"]["message"]) == (409, "adapter 'raft@1' is gone")
    desk.promote(RAG.id)
    desk.opener.gone[HYBRID.id] = "its run is gone"
    assert desk.http.post("/arbiter/decisions/rollback").status_code == 409
    assert desk.auto() == ("rag", RAG.id)


def test_a_request_in_flight_ends_with_the_arm_it_began_with(tmp_path: Path) -> None:
    class Slow(ScriptedEngine):
        begun, go_on = threading.Event(), threading.Event()

        async def complete(self, request: EngineRequest) -> Any:
            if "slow" in str(request.messages[-1]["content"]):
                self.begun.set()
                await asyncio.to_thread(self.go_on.wait, 10)
            return await super().complete(request)

    engine = Slow(lambda _: "nine")
    with Desk(tmp_path, engine) as desk, ThreadPoolExecutor() as pool:
        slow: Any = [{"role": "user", "content": "a slow question"}]
        pending = pool.submit(desk.client.chat.completions.create, model="auto", messages=slow)
        assert engine.begun.wait(10)
        assert desk.promote(BASE.id).status_code == 200
        assert desk.auto()[0] == "base"
        engine.go_on.set()
        assert pending.result(timeout=10).model == "hybrid"


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_adapters_that_no_served_arm_needs_leave_the_engine_when_the_last_request_has_ended(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(ScriptedEngine):
        async def stream(self, request: EngineRequest) -> Any:
            async for one in super().stream(request):
                yield one
                if "slow" in str(request.messages[-1]["content"]) and not begun.is_set():
                    begun.set()
                    await asyncio.to_thread(go_on.wait, 10)

    with Desk(tmp_path, Slow(lambda _: "at nine sharp")) as desk, ThreadPoolExecutor() as pool:
        desk.opener.adapters = {HYBRID.id: "raft@1", RAG.id: "raft@2", BASE.id: "raft@2"}
        assert desk.opener.loaded == {"raft@1"}
        slow: Any = [{"role": "user", "content": "a slow question"}]

        def ask() -> str:
            stream = desk.client.chat.completions.create(model="auto", messages=slow, stream=True)
            return "".join(part.choices[0].delta.content or "" for part in stream)

        pending = pool.submit(ask)
        assert begun.wait(10)
        # The stream under way needs the old adapter.
        desk.promote(RAG.id)
        desk.promote(BASE.id)
        time.sleep(0.1)
        assert desk.opener.loaded == {"raft@1", "raft@2"}
        go_on.set()
        assert pending.result(timeout=10) == "at nine sharp"
        until(lambda: desk.opener.loaded == {"raft@2"})


def test_a_client_that_goes_away_frees_the_adapters(tmp_path: Path) -> None:
    class Endless(ScriptedEngine):
        async def stream(self, request: EngineRequest) -> Any:
            while True:
                yield chunk("on and ", model=request.model)
                await asyncio.sleep(0.01)

    with Desk(tmp_path, Endless(lambda _: "nine")) as desk:
        desk.opener.adapters = {RAG.id: "raft@2"}
        stream = desk.client.chat.completions.create(model="auto", messages=ASKED, stream=True)
        next(iter(stream))
        desk.promote(RAG.id)
        assert desk.opener.loaded == {"raft@1", "raft@2"}
        stream.close()
        until(lambda: desk.opener.loaded == {"raft@2"})


def test_an_engine_that_will_not_unload_does_not_spoil_the_promotion(desk: Desk) -> None:
    desk.opener.adapters = {RAG.id: "raft@2", BASE.id: "raft@3"}
    desk.opener.unload_fault = ServingError("the engine is restarting")
    assert desk.promote(RAG.id).status_code == 200
    time.sleep(0.05)
    desk.opener.unload_fault = None
    desk.promote(BASE.id)
    until(lambda: desk.opener.loaded == {"raft@3"})


@pytest.mark.parametrize("path", ["decisions", "decisions/dec_1", "decisions/dec_1/promote", "arms", "arms/rag"])
def test_the_old_places_say_where_the_routes_are_now(desk: Desk, path: str) -> None:
    for method in ("GET", "POST"):
        gone = desk.http.request(method, f"/{path}")
        assert gone.status_code == 410
        assert f"/v1/arbiter/{path}" in gone.json()["error"]["message"]


def test_promotions_at_once_are_one_after_the_other(desk: Desk) -> None:
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(desk.promote, [BASE.id, RAG.id, HYBRID.id] * 6))
    assert {reply.status_code for reply in replies} == {200}
    log = desk.ledger.promotions(HYBRID.scope)
    assert [entry.previous_id for entry in log[1:]] == [entry.decision_id for entry in log[:-1]]
    assert desk.auto()[1] == log[-1].decision_id


def test_each_decision_has_its_report_and_the_front_page_follows(tmp_path: Path) -> None:
    with Desk(tmp_path, ScriptedEngine(lambda _: "nine")) as desk:
        runs = {}
        for arm in ("rag", "base"):
            runs[arm] = make_decision(arm, run_directory=tmp_path / arm, policy={"margin": 0.1})
            (tmp_path / arm).mkdir()
            (tmp_path / arm / "report.html").write_text(f"<p>{arm}</p>")
            desk.ledger.record(runs[arm])
        row = desk.promote(runs["rag"].id).json()
        assert httpx.get(row["report_url"]).text == "<p>rag</p>"
        assert httpx.get(desk.url).text == "<p>rag</p>"
        desk.promote(runs["base"].id)
        assert httpx.get(desk.url).text == "<p>base</p>"
        assert desk.http.get(f"/arbiter/decisions/{HYBRID.id}/report").status_code == 404


def test_the_key_guards_every_route_of_the_decisions(desk: Desk) -> None:
    current = CurrentDecision(desk.opener.open(HYBRID))
    routes = decision_routes(Promoter(current, desk.ledger, desk.opener, scope=HYBRID.scope))
    with listening(create_app(current, routes, api_key="secret")) as url:
        decisions = f"{url}/v1/arbiter/decisions"
        for path in ("", f"/{RAG.id}", f"/{RAG.id}/report"):
            assert httpx.get(decisions + path).status_code == 401
        for path in (f"/{RAG.id}/promote", "/rollback"):
            assert httpx.post(decisions + path).status_code == 401
        assert desk.ledger.promotions() == []
        assert httpx.post(f"{decisions}/{RAG.id}/promote", headers={"Authorization": "Bearer secret"}).is_success
        assert httpx.get(decisions).status_code == 401


def lose_half(directory: Path, arm: str) -> None:
    """What a run looks like whose arm has lost half of what the model knew."""
    directory.mkdir(parents=True)
    harms = (1.0,) * 20 + (0.0,) * 20
    keep_measured(directory, [Measured("forgetting", arm, harms, tuple(f"q{i}" for i in range(40)), num_items=40)])


@pytest.fixture
def gated(desk: Desk, tmp_path: Path) -> RecordedDecision:
    """A decision that a gate stands against."""
    decision = make_decision("rag", run_id="desk-1a2b3c-00000009", run_directory=tmp_path / "gated")
    desk.ledger.record(decision)
    lose_half(tmp_path / "gated", "rag")
    return decision


def test_a_failed_gate_is_409_with_its_reason_and_changes_nothing(desk: Desk, gated: RecordedDecision) -> None:
    refused = desk.promote(gated.id)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "gate_failed")
    message = refused.json()["error"]["message"]
    assert "gate forgetting: 50% of what the model answers right without the adapter is lost" in message
    assert "\n" not in message
    assert desk.auto() == ("hybrid", HYBRID.id)
    assert desk.ledger.promotions() == []


def test_a_person_may_let_it_pass_by_name_and_with_a_reason(desk: Desk, gated: RecordedDecision) -> None:
    override = {"by": "Ada", "reason": "one form only"}
    passed = desk.http.post(f"/arbiter/decisions/{gated.id}/promote", json={"override": override})
    assert passed.status_code == 200
    promotion = passed.json()["promotion"]
    assert (promotion["overridden_by"], promotion["override_reason"]) == ("Ada", "one form only")
    assert promotion["overridden"][0].startswith("gate forgetting: 50%")
    assert desk.auto()[0] == "rag"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"override": {"by": "Ada"}}, "override.reason"),
        ({"override": {"by": "  ", "reason": "x"}}, "override.by"),
        ({"override": {"by": "Ada", "reason": "x", "force": True}}, "override.force"),
        ({"force": True}, "force"),
    ],
)
def test_a_faulty_override_names_its_field(desk: Desk, gated: RecordedDecision, body: Any, param: str) -> None:
    refused = desk.http.post(f"/arbiter/decisions/{gated.id}/promote", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_a_required_gate_that_was_not_measured_says_the_command(desk: Desk, tmp_path: Path) -> None:
    policy = {"margin": 0.05, "gates": {"required": ["bias"]}}
    decision = make_decision("rag", policy=policy, run_directory=tmp_path / "desk-9")
    desk.ledger.record(decision)
    message = desk.promote(decision.id).json()["error"]["message"]
    assert "required gate bias was not measured; run: arbiter gates desk-9 --arm rag" in message


def test_gates_that_cannot_be_read_are_no_promotion(desk: Desk, gated: RecordedDecision) -> None:
    (gated.run_directory / "gates.json").write_text("{")
    refused = desk.promote(gated.id)
    assert refused.status_code == 409
    assert "cannot read gates.json" in refused.json()["error"]["message"]


def test_a_rollback_is_the_way_out_whatever_gates_say(desk: Desk, gated: RecordedDecision) -> None:
    override = {"by": "Ada", "reason": "one form only"}
    desk.http.post(f"/arbiter/decisions/{gated.id}/promote", json={"override": override})
    desk.promote(BASE.id)
    assert desk.http.post("/arbiter/decisions/rollback").json()["id"] == gated.id
