"""Trainings in processes that are killed: they end with the same bytes."""

import random
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.forks import Fork, Forks
from fakes.trainings import COLOURS, ROWS, train

from tuning.methods.lora import LoraRecipe
from tuning.recipe import CheckRows

# It trains, in some forty processes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

RECIPE = LoraRecipe(rank=4, alpha=8, learning_rate=0.03, epochs=12, batch_size=2, seed=3)
DEV = CheckRows(ROWS[:3])


CHILD = """
import sys, time
from pathlib import Path
import peft, torch, trl
import transformers.models.llama.modeling_llama, transformers.models.llama.tokenization_llama
import tuning.export.opening, tuning.training.trainer
from tuning.base import ResolvedModel
from tuning.training.run import train_adapter
from tuning.methods.lora import LoraRecipe
from tuning.data.rows import TrainingRow
from tuning.recipe import CheckRows

def report(progress):
    print(progress.step, flush=True)
    time.sleep(float(pause))

def main():
    global pause
    folder, home, keep, epochs, every_s, pause, *words = sys.argv[1:]
    rows = [TrainingRow(({"role": "user", "content": f"what is {a}"},), b) for a, b in zip(words[::2], words[1::2])]
    home = Path(home)
    print(train_adapter(
        base=ResolvedModel("org/tiny", "r1", folder), rows=rows, name="closed-book",
        recipe=LoraRecipe(
            rank=4, alpha=8, learning_rate=0.03, epochs=float(epochs), batch_size=2, seed=3, keep=keep,
            look_every=1.0 if keep == "best" else 0.5,
        ),
        adapters_dir=home / "adapters", work_dir=home / "training", provenance={}, progress=report,
        checkpoint_every_s=float(every_s), dev=CheckRows(rows[:3]),
    ).name)
"""


WORDS = [word for pair in COLOURS.items() for word in pair]
SHORT = ["best", 4, 0.0, 0.0, *WORDS]


def test_a_training_killed_at_twenty_random_moments_publishes_the_same_weights(tiny_base: Path, tmp_path: Path) -> None:
    """While it loads, steps, looks, writes checkpoints and publishes: every step writes one."""
    recipe = replace(RECIPE, keep="best", epochs=4.0, look_every=1.0)
    expected = train(tiny_base, tmp_path / "whole", recipe=recipe, dev=DEV).name
    moments = random.Random(5)
    num_killed, homes = 0, [tmp_path / "0"]
    published = []
    with Forks(CHILD, {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}) as forks:
        for name in ("first", "second"):  # the first one waits for the imports
            began = time.monotonic()
            assert forks.start(tiny_base, tmp_path / name, *SHORT).finish()[-1] == expected
            takes_s = time.monotonic() - began
        while num_killed < 20:
            process = forks.start(tiny_base, homes[-1], *SHORT)
            time.sleep(moments.uniform(0.05, 0.95) * takes_s)
            if process.kill_or_finished():
                num_killed += 1
            else:
                homes.append(tmp_path / f"{len(homes)}")
        published = [forks.start(tiny_base, home, *SHORT).finish()[-1] for home in homes]
    assert published == [expected] * len(homes)
    for home in homes:
        assert [path.name for path in (home / "adapters").iterdir()] == [expected]
        assert not list((home / "training").iterdir())


def test_a_training_killed_at_any_point_reaches_the_same_weights(tiny_base: Path, tmp_path: Path) -> None:
    adapter, first_steps = train(tiny_base, tmp_path / "whole", recipe=RECIPE), []
    with Forks(CHILD, {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}) as forks:

        def start() -> Fork:
            return forks.start(tiny_base, tmp_path / "parts", "last", 12, 0.25, 0.05, *WORDS)

        for last_step in (12, 24):
            process = start()
            seen = []
            for line in process.stdout:
                seen.append(int(line))
                if seen[-1] == last_step:
                    break
            process.kill()
            first_steps.append(seen[0])
        whole, again = start().finish(), start().finish()
    first_steps.append(int(whole[0]))
    assert first_steps[0] == 1
    assert 2 < first_steps[1] <= 13, "the second process began where a checkpoint of the first lay"
    assert first_steps[1] < first_steps[2] <= 25
    assert whole[-1] == adapter.name
    assert list((tmp_path / "parts" / "training").iterdir()) == []
    assert again == [adapter.name]
