"""Makes the README's pictures from a finished run: `python docs/pictures/draw.py .arbiter/runs/demo-xxxxxx-xxxxxxxx`.

card.png is the top of the run's own report.html in headless Chromium; loop.svg is drawn from the run's scorecard.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

from PIL import Image

from eval.runs.run import Run, find_run

HERE = Path(__file__).parent
CARD_SIZE = (1100, 760)
CHROMIUM = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run")
BOX = 'rx="8" fill="none" stroke="currentColor" stroke-width="1.5"'


def main() -> None:
    run = find_run(Path(sys.argv[1]))
    if run is None:
        sys.exit(f"no finished run in {sys.argv[1]!r}; make one with: make demo")
    draw_card(run, HERE / "card.png")
    (HERE / "loop.svg").write_text(loop(run), encoding="utf-8")


def draw_card(run: Run, target: Path) -> None:
    """The first screen of the decision card, in few colours so that it stays small."""
    report = (run.directory / "report.html").resolve()
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        size = f"--window-size={CARD_SIZE[0]},{CARD_SIZE[1]}"
        command = [*CHROMIUM, f"--user-data-dir={folder}/profile", size, f"--screenshot={shot}", f"file://{report}"]
        subprocess.run(command, check=True, capture_output=True)
        Image.open(shot).convert("RGB").quantize(64).save(target, optimize=True)


def loop(run: Run) -> str:
    """The loop as one SVG: what comes in, the arms with their scores, what is served."""
    card = run.scorecard()
    decision = run.decision()
    rows = []
    for i, scores in enumerate(card.arms):
        interval = card.interval(scores, card.primary)
        mean = "–" if interval is None else f"{interval.mean:.2f}"
        weight = ' font-weight="bold"' if scores.arm.name == decision["arm"] else ""
        y = 52 + 20 * i
        rows.append(f'<text x="352" y="{y}"{weight}>{escape(scores.arm.name)}</text>')
        rows.append(f'<text x="462" y="{y}"{weight} text-anchor="end">{mean}</text>')
    boxes = [
        (10, 20, 120, 50, ("documents",)),
        (10, 100, 120, 50, ("examples,", "questions")),
        (180, 20, 110, 50, ("index",)),
        (180, 100, 110, 50, ("train adapters",)),
        (520, 60, 120, 50, ("decide:", f"{decision['arm']}, {decision['verdict']}")),
        (690, 60, 120, 50, ("serve", "/v1, model=auto")),
    ]
    arrows = [(130, 45, 180, 45), (130, 125, 180, 125), (290, 45, 340, 70), (290, 125, 340, 110), (475, 85, 520, 85)]
    arrows.append((640, 85, 690, 85))
    parts = [f'<rect x="340" y="30" width="135" height="{len(card.arms) * 20 + 12}" {BOX}/>', *rows]
    for x, y, width, height, lines in boxes:
        parts.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" {BOX}/>')
        for i, line in enumerate(lines):
            middle = y + height / 2 + 4 + (i - (len(lines) - 1) / 2) * 16
            parts.append(f'<text x="{x + width / 2}" y="{middle}" text-anchor="middle">{escape(line)}</text>')
    line = 'stroke="currentColor" stroke-width="1.5" marker-end="url(#tip)"'
    parts += [f'<line x1="{a}" y1="{b}" x2="{c}" y2="{d}" {line}/>' for a, b, c, d in arrows]
    height = max(170, 50 + len(card.arms) * 20)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 {height}" font-family="sans-serif" font-size="13" '
        'color="#57606a" fill="currentColor"><defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" '
        'markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="currentColor"/></marker></defs>'
        + "".join(parts)
        + "</svg>\n"
    )


if __name__ == "__main__":
    main()
