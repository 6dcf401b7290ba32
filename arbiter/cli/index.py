"""The commands of `arbiter index`: build, add, update, delete, list, search, verify, export and evaluate."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from arbiter.cli.endings import EXIT_FAILED, EXIT_MISSED
from arbiter.cli.words import ColumnsOption, JsonOption, Words, open_pipeline
from arbiter.cli.words import ConfigOption as CommandConfigOption
from arbiter.console import Console
from arbiter.home import data_home
from storage.errors import ArbiterError

if TYPE_CHECKING:
    from arbiter.index_commands import IndexCommands

index_app = typer.Typer(
    name="index",
    help="Indexes of documents: make them, keep them up to date, search, check and measure them.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(help="The index's name.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="A YAML config for embedder, chunks, database and retrieval."),
]
TokensOption = Annotated[int | None, typer.Option(min=1, help="Tokens of a chunk, for a new index.")]
OverlapOption = Annotated[int | None, typer.Option(min=0, help="Tokens that a chunk repeats, for a new index.")]
StrategyOption = Annotated[
    Literal["tokens", "structure", "parent_child"] | None, typer.Option(help="How a new index cuts documents.")
]
RerankOption = Annotated[str | None, typer.Option(help="A sentence-transformers CrossEncoder: hub id or folder.")]


@index_app.command("build")
def build(words: Words = None, config: CommandConfigOption = None, is_json: JsonOption = False) -> None:
    """Bring the indexes of a config up to date with its data folder."""
    pipeline = open_pipeline("index build", words, config, is_json, needs_questions=False)
    reports = pipeline.index()
    lines = [
        f"{role}: {r.num_chunks} chunks, {r.embedded_chunks} embedded in {r.seconds:.1f} s"
        for role, r in reports.items()
    ]
    pipeline.console.result("\n".join(lines), {role: asdict(report) for role, report in reports.items()})


@index_app.command("add")
def add(
    name: NameArgument,
    paths: Annotated[list[str], typer.Argument(help="Files, folders, patterns or zip archives.")],
    chunk_tokens: TokensOption = None,
    overlap_tokens: OverlapOption = None,
    strategy: StrategyOption = None,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """Put documents into an index, new or there already; what cannot be read is listed and the rest goes on."""
    chunking = _given(chunk_tokens=chunk_tokens, overlap_tokens=overlap_tokens, strategy=strategy)
    _add(name, paths, chunking, config, is_json)


@index_app.command("update")
def update(
    name: NameArgument,
    path: Annotated[str, typer.Argument(help="The folder, file, pattern or archive that the documents came from.")],
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """Make an index's documents of a path what the path holds now: added, replaced and taken away."""
    _add(name, [path], {}, config, is_json, is_whole=True)


@index_app.command("delete")
def delete(
    name: NameArgument,
    document_ids: Annotated[list[str] | None, typer.Argument(metavar="[DOCUMENT_ID]...", help="As listed.")] = None,
    is_all: Annotated[bool, typer.Option("--all", help="The whole index.")] = False,
    is_sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """Take documents out of an index, or the whole index away; no search finds them from then on."""
    if is_all == bool(document_ids):
        raise ArbiterError("give the ids of documents to delete, or --all for the whole index")
    commands = _open(config, is_json)
    if document_ids:
        commands.console.result(*commands.delete(name, document_ids))
        return
    if not is_sure and not _agrees(f"Delete index {name} with all its documents?"):
        raise ArbiterError(f"index {name!r} is as it was; --yes deletes it without asking")
    commands.console.result(*commands.drop(name))


@index_app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(help="An index, to list its documents.")] = None,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """Every index, or every document of one."""
    commands = _open(config, is_json)
    commands.console.result(*commands.show(name))


@index_app.command("search")
def search(
    name: NameArgument,
    query: Annotated[str, typer.Argument(help="A question or words.")],
    k: Annotated[int, typer.Option("-k", help="How many passages.")] = 5,
    mode: Annotated[Literal["dense", "bm25", "hybrid"] | None, typer.Option(help="By vectors, words or both.")] = None,
    fusion: Annotated[Literal["minmax", "rrf"] | None, typer.Option(help="How two rankings become one.")] = None,
    dense_weight: Annotated[float | None, typer.Option(help="Share of the vectors in the fusion, 0 to 1.")] = None,
    candidates: Annotated[int | None, typer.Option(help="How many passages are fused and reranked.")] = None,
    rerank: RerankOption = None,
    mmr: Annotated[float | None, typer.Option(help="Likeness (1) against variety (0).")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="The lowest score that is shown; of a fusion, the lowest cosine.")
    ] = None,
    neighbours: Annotated[int | None, typer.Option(help="Chunks to either side that come along.")] = None,
    filter_: Annotated[
        str | None,
        typer.Option("--filter", help='JSON like {"type": "eq", "key": "source", "value": "guide.pdf"}.'),
    ] = None,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """The best passages for a query, with their scores and places."""
    filters = _read_filter(filter_)
    commands = _open(config, is_json)
    chosen = _given(
        mode=mode,
        fusion=fusion,
        dense_weight=dense_weight,
        candidates=candidates,
        reranker=rerank,
        mmr=mmr,
        threshold=threshold,
        neighbours=neighbours,
    )
    commands.console.result(*commands.search(name, query, k, replace(commands.index_home.retrieval, **chosen), filters))


@index_app.command("verify")
def verify(
    name: Annotated[str | None, typer.Argument(help="An index; all by default.")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is wrong.")] = False,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """Check every row and file of an index; exits 1 when something is wrong and was not mended."""
    commands = _open(config, is_json)
    text, row, is_sound = commands.verify(name, is_repaired=repair)
    commands.console.result(text, row)
    if not is_sound:
        raise typer.Exit(EXIT_MISSED)


@index_app.command("export")
def export(
    name: NameArgument,
    file: Annotated[str, typer.Argument(help="Where the JSON lines go; - is standard output.")],
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """Write every document as a line {id, title, text, metadata}, which `arbiter index add` reads again."""
    commands = _open(config, is_json)
    shown = commands.export(name, None if file == "-" else Path(file))
    if shown is not None:
        commands.console.result(*shown)


@index_app.command("evaluate")
def evaluate(
    target: Annotated[
        str, typer.Argument(metavar="NAME|CONFIG|FOLDER", help="An index, a YAML config or a data folder.")
    ],
    words: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides of a config.")] = None,
    questions: Annotated[
        Path | None, typer.Option(help="Rows {question, doc_ids}; a config's dev questions by default.")
    ] = None,
    columns: ColumnsOption = None,
    rerank: RerankOption = None,
    measure: Annotated[
        Literal["recall@5", "hit@5", "recall@1", "recall@3", "recall@10", "mrr@10", "ndcg@10"],
        typer.Option(help="What the verdicts are about."),
    ] = "recall@5",
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """Measure vectors, words and both, reranked too, on questions with known documents; says what to search with."""
    from arbiter.cli.quality import documents_of, evaluate_index
    from eval.questions import load_judged
    from tuning.data.formats.read import parse_columns

    parts = parse_columns(columns) if columns is not None else None
    if parts and questions is None:
        raise ArbiterError("--columns is of --questions; of a data folder's files they are limits.columns.question=...")
    if _is_config(Path(target)):
        given = [target, *(words or [])]
        pipeline = open_pipeline("index evaluate", given, None, is_json, needs_dev=questions is None)
        # The dev questions by default, so that the evaluation questions stay unseen.
        judged = load_judged(questions, parts) if questions is not None else pipeline.data.dev
        index, retrieval, console = documents_of(pipeline), pipeline.config.index.retrieval, pipeline.console
    else:
        if questions is None:
            raise ArbiterError("no questions given; add --questions FILE with rows {question, doc_ids}")
        if words:
            raise ArbiterError(f"{words[0]!r} overrides a config, and {target!r} is an index; give --config")
        commands = _open(config, is_json)
        judged, index = load_judged(questions, parts), commands.searchable(target)
        retrieval, console = commands.index_home.retrieval, commands.console
    with contextlib.closing(index):
        console.result(*evaluate_index(index, judged, retrieval, console=console, reranker=rerank, measure=measure))


def _is_config(path: Path) -> bool:
    """Whether this is a config or a data folder; a folder of documents alone may be called as an index."""
    if path.suffix in (".yaml", ".yml") or not path.is_dir():
        return path.suffix in (".yaml", ".yml")
    from tuning.data.layouts import find_part

    try:
        return any(find_part(path, part) is not None for part in ("test", "dev", "train", "questions"))
    except ArbiterError:  # a folder of documents may hold a test.txt
        return False


def _open(config: Path | None, is_json: bool) -> IndexCommands:
    """The indexes as the command line wants them; heavy imports wait until its words are known to be right."""
    from arbiter.index_commands import open_index_commands

    return open_index_commands(config, home=data_home(), console=Console(is_json=is_json))


def _add(
    name: str, paths: list[str], chunking: dict[str, Any], config: Path | None, is_json: bool, *, is_whole: bool = False
) -> None:
    if "" in paths:  # An unset shell variable; as a path it would be the working folder.
        raise ArbiterError("the path '' is empty; give a file, folder, pattern or zip archive, or . for this folder")
    commands = _open(config, is_json)
    text, row = commands.add(name, [Path(path) for path in paths], chunking, is_whole=is_whole)
    commands.console.result(text, row)
    if row["unreadable"]:
        # The paths that could be read are indexed; a script must see that one was not.
        raise typer.Exit(EXIT_FAILED)


def _agrees(question: str) -> bool:
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:  # nobody there to ask
        return False


def _given(**options: object) -> dict[str, Any]:
    """The options that the command line has."""
    return {name: value for name, value in options.items() if value is not None}


def _read_filter(text: str | None) -> object:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise ArbiterError(f"--filter is no JSON ({error}): {text!r}") from error
