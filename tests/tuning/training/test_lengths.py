from pathlib import Path

import pytest
from fakes.trainings import ROWS

from tuning.data.rows import TrainingRow
from tuning.errors import TuningError
from tuning.objectives.supervised import SUPERVISED
from tuning.training.lengths import unfit_rows

# It imports transformers.
pytestmark = pytest.mark.slow


def test_rows_that_cannot_be_learned_are_told_by_their_places(tiny_base: Path) -> None:
    long = TrainingRow(({"role": "user", "content": "what is " * 4},), "red")
    strange = TrainingRow(({"role": "tool", "content": "what is north"},), "red")
    # [user] what is north [end] [assistant] red [end]
    assert unfit_rows(str(tiny_base), ROWS, SUPERVISED, max_length=8) == {}
    assert unfit_rows(str(tiny_base), ROWS, SUPERVISED, max_length=7).keys() == set(range(5))
    found = unfit_rows(str(tiny_base), [ROWS[0], long, strange], SUPERVISED, max_length=8)
    assert found[1] == "it has 13 tokens, and max_length is 8"
    assert found[2].startswith("the base model's chat template refuses a conversation of tool, assistant")
    assert len(found) == 2


def test_a_folder_without_a_tokenizer_is_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="cannot load the base model in"):
        unfit_rows(str(tmp_path), ROWS, SUPERVISED, max_length=8)
