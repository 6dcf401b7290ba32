"""The sections of a config, and the standard arms and adapters that every config begins with.

IndexConfig(strategy="structure", retrieval=SearchSettings(mode="hybrid"))
PolicyConfig(metric={"default": "token_f1", "label": "label_accuracy"}, margin=0.03)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, SecretStr, field_serializer

from eval.gates.settings import GateSettings
from eval.settings import JudgeEndpoint
from rag.chunking.chunk import ChunkSettings
from rag.embedding.settings import EmbedderSettings
from rag.search.settings import SearchSettings, TopK
from router.answering.arm import Sampling
from router.answering.condense import Condense
from router.deciding.policy import Policy
from storage.errors import ArbiterError
from storage.settings import NUMBER, Above0, Count, NotNegative, Share, Whole, settings
from tuning.data.formats.registry import check_parts

if TYPE_CHECKING:
    from router.deciding.arm_table import ArmTable
    from router.deciding.decision import Decision


@settings(ArbiterError)
class LimitsConfig:
    """What is used of the data."""

    train_rows: Count | None = None
    """The most training rows, sampled with `seed`; null is all."""
    questions: Count | None = None
    """The most evaluation questions, sampled with `seed`; null is all."""
    contradictions: Literal["refuse", "drop"] = "refuse"
    """Questions asked twice with no gold in common stop the run, or are left out, counted and listed."""
    repeats: Literal["refuse", "drop"] = "refuse"
    """Training rows that ask an evaluation question; the same."""
    near_repeats: Literal["drop", "keep"] = "drop"
    """Training rows that nearly ask one with an answer in common are left out and counted, or only counted. A text of a
    label that differs in a number is none."""
    columns: dict[str, str] = field(default_factory=dict)
    """Which column of the rows' files holds which part, where their names do not say so: `question: Frage`, `answer:
    Antwort` (docs/data.md)."""

    def __post_init__(self) -> None:
        check_parts(self.columns)


@settings(ArbiterError)
class FactoryConfig:
    """What another package makes of options."""

    factory: str
    """The dotted path of a callable, `package.module:Class`; of a vector store also the name of a recipe
    (rag/langchain/vector_store.py)."""
    options: dict[str, Any] = field(default_factory=dict)
    """Its arguments; not written into runs, since a connection or a key among them may be a secret."""

    @field_serializer("options", when_used="json")
    def _hide(self, options: dict[str, Any]) -> dict[str, str]:
        return dict.fromkeys(options, "**********")


@settings(ArbiterError)
class EmbeddingConfig(EmbedderSettings):
    """How the embedder runs."""

    langchain: FactoryConfig | None = None
    """LangChain `Embeddings` in place of the embedder and all of this."""


@settings(ArbiterError)
class IndexConfig(ChunkSettings):
    """How documents are cut, where their rows are kept, and how they are searched. Tokens are the embedder's."""

    top_k: TopK = 2
    """How many passages an arm retrieves from the documents."""
    example_top_k: TopK = 4
    """How many training rows an arm retrieves."""
    retrieval: SearchSettings = SearchSettings()
    database: SecretStr | None = None
    """A SQLAlchemy URL in place of the data directory's own SQLite file; it may hold a password, so it is best given as
    an environment variable."""
    store: FactoryConfig | None = None
    """A LangChain vector store in place of FAISS."""


@settings(ArbiterError)
class ArmConfig:
    """One arm: which adapter, index and prompt it answers with, and whose answers it is shown."""

    adapter: str | None = None
    """A key under `adapters`, which is trained, or the full name of an adapter that is there, such as `both@3f9c01ab`;
    null is the base model."""
    index: Literal["documents", "examples"] | None = None
    """What it retrieves from: the documents, the training rows, or nothing."""
    prompt: str = "answer"
    """`answer`, `fewshot`, or a key under `prompts`."""
    top_k: TopK | None = None
    """How many passages it retrieves; null is the index's `top_k` or `example_top_k`."""
    condense: Condense = "recent"
    """What is searched, or a topic chosen by, for a follow-up question: the `last` message, also what the `recent`
    exchange names, or what the `model` makes of the conversation."""
    retrieval: SearchSettings | None = None
    """A ranking of its own in place of `index.retrieval`."""
    sampling: Sampling | None = None
    """A sampling of its own in place of `sampling`."""
    proposers: Annotated[tuple[str, ...], Field(max_length=8)] = ()
    """Other arms, two to eight, that answer each question first: a mixture of agents, whose own answer weighs theirs.
    None of them is a mixture."""


STANDARD_ARMS: Mapping[str, Mapping[str, object]] = {
    "base": {},
    "fewshot": {"index": "examples", "prompt": "fewshot"},
    "rag": {"index": "documents"},
    "tuned": {"adapter": "closed_book"},
    "tuned_rag": {"adapter": "closed_book", "index": "documents"},
    "hybrid": {"adapter": "raft", "index": "documents"},
}
STANDARD_ADAPTERS: Mapping[str, Mapping[str, object]] = {"closed_book": {}, "raft": {"passages": 2}}


@settings(ArbiterError)
class EvalConfig:
    """How the arms are asked and their answers scored."""

    first_token_probes: Whole = 3
    """Answers an arm that are streamed one at a time for the time to the first token."""
    labels: str | None = None
    """A file in the data folder with human labels of answers; they correct the judge, and decide in its place."""
    concurrency: Count = 16
    """Questions in flight at once."""
    patience_s: Above0 = 300.0
    """How long a silent engine is waited for."""
    judge: JudgeEndpoint | None = None


@settings(ArbiterError)
class EnergyConfig:
    """What a forecast says of energy."""

    power_w: Above0 | None = None
    """Watts that are drawn while this machine trains; null is the limit that the GPU or the processors state, else 10 a
    core."""


@settings(ArbiterError)
class RequireConfig:
    """What `arbiter decide --check` demands of a decision; null demands nothing."""

    arm: str | None = None
    """The arm that is chosen."""
    verdicts: tuple[Literal["winner", "tie", "undecided"], ...] | None = None
    """The verdicts that are good enough."""
    score: Share | None = None
    """The least mean of the primary metric."""
    confidence: Share | None = None
    """The least confidence."""
    lead: Annotated[float, Field(ge=-1, le=1), NUMBER] | None = None
    """The least lead over the runner-up."""
    cost_per_1k: NotNegative | None = None
    """The most that 1,000 questions may cost."""
    unscored: Share | None = None
    """The largest share of answers that failed or could not be scored."""

    def missed_by(self, decision: Decision, table: ArmTable, *, stale_reason: str | None) -> list[str]:
        """A line for every demand that a decision does not meet; a decision about changed data meets none.

        After a race the score and the lead are those on held-out questions where there are any: nobody chose by them.
        Raises ArbiterError when nothing is demanded, since such a check could not fail.
        """
        if self == RequireConfig():
            raise ArbiterError(
                "policy.require demands nothing, so --check cannot fail; set for example policy.require.confidence=0.9"
            )
        row, primary = table.row(decision.arm), table.scorecard.primary
        mean, lead, cost = row.score, decision.margin, decision.cost_per_1k[decision.arm]
        if decision.held_out is not None and decision.metric == primary:
            mean = decision.held_out.mean
        if decision.held_out_lead is not None:
            lead = decision.held_out_lead.mean
        columns = zip(table.scorecard.question_ids, row.scores.scores[primary], strict=True)
        lost = sum(score is None or name in row.scores.errors for name, score in columns) - len(row.scores.not_asked)
        unscored = lost / max(row.scores.num_asked, 1)
        missed = [stale_reason] if stale_reason is not None else []
        if self.arm is not None and decision.arm != self.arm:
            missed.append(f"arm is {decision.arm!r}, not {self.arm!r}")
        if self.verdicts is not None and decision.verdict not in self.verdicts:
            missed.append(f"verdict is {decision.verdict!r}, not {' or '.join(map(repr, self.verdicts))}")
        for name, value, least in (
            (f"mean {primary}", mean, self.score),
            ("confidence", decision.confidence, self.confidence),
            ("lead", lead, self.lead),
        ):
            if least is not None and value < least:
                missed.append(f"{name} is {value:.3f}, below {least:g}")
        if self.cost_per_1k is not None and (cost is None or cost > self.cost_per_1k):
            shown = "unknown" if cost is None else f"{cost:.4g}"
            missed.append(f"cost of 1,000 questions is {shown}, above {self.cost_per_1k:g}")
        if self.unscored is not None and unscored > self.unscored:
            missed.append(f"{unscored:.1%} of the answers failed or are unscored, above {self.unscored:.1%}")
        return missed


@settings(ArbiterError)
class PolicyConfig(Policy):
    """What decides. It can be changed without asking again, the metric aside."""

    metric: str | dict[str, str] = "token_f1"
    """The primary metric, or one for each kind of question with a `default`."""
    require: RequireConfig = RequireConfig()
    gates: GateSettings = GateSettings()

    def __post_init__(self) -> None:
        if isinstance(self.metric, dict) and "default" not in self.metric:
            raise ValueError("metric must name one under `default`, too, where it names one for each kind of question")
        if self.utility is not None and self.utility.right <= self.utility.wrong:
            right, wrong = self.utility.right, self.utility.wrong
            raise ValueError(f"utility.right ({right:g}) must be worth more than utility.wrong ({wrong:g})")
