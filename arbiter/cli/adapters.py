"""The commands of adapters that are there: `arbiter merge` and `arbiter export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arbiter.cli.words import JsonOption
from arbiter.console import Console
from arbiter.home import data_home
from tuning.exchange.settings import Dtype, ExportSettings, Format, Quantize
from tuning.merging.settings import How, MergeSettings

# Without a name of its own it puts its commands beside the main job's.
adapters_app = typer.Typer()


@adapters_app.command()
def merge(
    name: Annotated[str, typer.Argument(metavar="NEW", help="What the new adapter is called.")],
    adapters: Annotated[
        list[str],
        typer.Argument(metavar="ADAPTER[:WEIGHT]", help="Names, or their beginnings; a weight is 1 by default."),
    ],
    how: Annotated[
        How,
        typer.Option(
            help="cat: exact; svd: the nearest of a rank; ties, dare: thinned out first, where a rank holds it."
        ),
    ] = "cat",
    rank: Annotated[int | None, typer.Option(min=1, help="Of the new adapter, for svd, ties and dare.")] = None,
    density: Annotated[
        float | None, typer.Option(help="The share of each update's numbers that ties and dare keep; 0.5 by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what dare keeps.")] = 0,
    is_json: JsonOption = False,
) -> None:
    """Add adapters up to a new one, each times its weight; it is published when its answers are those of the sum."""
    from arbiter import adapter_commands

    numbers, console = MergeSettings(how=how, rank=rank, density=density, seed=seed), Console(is_json=is_json)
    console.result(*adapter_commands.merge(adapters, name, numbers, home=data_home(), console=console))


@adapters_app.command()
def export(
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER", help="Its name, or the beginning of it.")],
    folder: Annotated[Path, typer.Option("--to", help="The folder to write, which must not be there.")],
    format: Annotated[
        Format,
        typer.Option(
            "--as",
            help="peft: the adapter; safetensors: the whole model; gguf: for llama.cpp; ollama: with a Modelfile.",
        ),
    ] = "safetensors",
    dtype: Annotated[Dtype | None, typer.Option(help="Of the numbers; float32, by default, is exact.")] = None,
    quantize: Annotated[Quantize | None, typer.Option(help="nf4 and int8 in safetensors, q8_0 in a GGUF.")] = None,
    converter: Annotated[
        Path | None,
        typer.Option(envvar="ARBITER_GGUF_CONVERTER", help="llama.cpp's convert_hf_to_gguf.py; else the one on PATH."),
    ] = None,
    system: Annotated[str | None, typer.Option(help="The system message of the Modelfile.")] = None,
    is_json: JsonOption = False,
) -> None:
    """Write an adapter for another program, once it answers there as it does here."""
    from arbiter import adapter_commands

    numbers = ExportSettings(format=format, dtype=dtype, quantize=quantize, converter=converter, system=system)
    console = Console(is_json=is_json)
    console.result(*adapter_commands.export(adapter, folder, numbers, home=data_home(), console=console))
