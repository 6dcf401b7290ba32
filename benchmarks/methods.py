"""What each method of tuning gave, as one table: `python benchmarks/methods.py RUN [RUN ...]`

RUN is the folder of a finished run of configs/methods.yaml; each row is an arm, the best one first. A score's interval
holds the mean of 95 in 100 such sets of questions, and `bytes` and `seconds` are the adapter's and its training's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from eval.report.tables import table
from eval.report.wording import as_duration, as_size

HEAD = ("arm", "score", "95% interval", "tokens in + out", "p50 ms", "size", "trained in", "served as")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    for folder in parser.parse_args().runs:
        if not (folder / "card.json").is_file():
            parser.error(f"no finished run in {str(folder)!r}: it has no card.json")
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        print(f"{card['title']}: {card['metric']['name']}, {card['questions']['num']} questions\n")
        print(methods_table(card), end="\n\n")


def methods_table(card: dict[str, Any]) -> str:
    """Markdown of the arms by their score."""
    adapters = {arm: row for row in card["adapters"] for arm in row["arms"]}
    scored = [row for row in card["arms"] if row["primary"] is not None]
    return table(HEAD, [_cells(row, adapters.get(row["arm"])) for row in sorted(scored, key=_score, reverse=True)])


def _score(row: dict[str, Any]) -> float:
    return float(row["primary"]["mean"])


def _cells(row: dict[str, Any], adapter: dict[str, Any] | None) -> tuple[str, ...]:
    found = row["primary"]
    trained = ("–",) * 3
    if adapter is not None:
        trained = as_size(adapter["num_bytes"]), as_duration(adapter["training_s"]), adapter["form"]
    return (
        row["arm"],
        f"{found['mean']:.2f}",
        f"{found['low']:.2f} to {found['high']:.2f}",
        f"{row['prompt_tokens']:.0f} + {row['generated_tokens']:.0f}",
        f"{row['p50_ms']:.0f}",
        *trained,
    )


if __name__ == "__main__":
    main()
