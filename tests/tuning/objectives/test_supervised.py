import copy
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuning.data.rows import TrainingRow
from tuning.errors import TuningError
from tuning.objectives.objective import IGNORED
from tuning.objectives.supervised import completion_loss, encode_completion

# Its tensors and tokenizers are torch's and transformers'.
pytestmark = pytest.mark.slow


def row(question: str, answer: str, role: str = "user") -> TrainingRow:
    return TrainingRow(({"role": role, "content": question},), answer)


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_base)


def test_the_loss_begins_with_the_first_token_of_the_answer_and_ends_with_its_end(tokenizer: Any) -> None:
    encoded = encode_completion(tokenizer, row("what colour is sea", "blue"))
    tokens = ["[user]", "what", "colour", "is", "sea", "[end]", "[assistant]", "blue", "[end]"]
    assert tokenizer.convert_ids_to_tokens(encoded.input_ids) == tokens
    assert encoded.labels == (IGNORED,) * 7 + encoded.input_ids[7:]
    assert encoded.num_tokens == 9


def test_trl_tokenizes_a_row_in_the_same_way(tokenizer: Any, tiny_base: Path, tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [row("what colour is sea", "blue"), row("two", "three one")]
    dataset = Dataset.from_list(
        [{"prompt": list(r.prompt), "completion": [{"role": "assistant", "content": r.completion}]} for r in rows]
    )
    config = SFTConfig(str(tmp_path), report_to="none", use_cpu=True, bf16=False)
    theirs = SFTTrainer(str(tiny_base), args=config, train_dataset=dataset, processing_class=tokenizer).train_dataset
    ours = [encode_completion(tokenizer, r) for r in rows]
    assert [(tuple(r["input_ids"]), tuple(r["labels"])) for r in theirs] == [(r.input_ids, r.labels) for r in ours]


def test_a_role_that_the_template_refuses_is_a_plain_error(tokenizer: Any) -> None:
    with pytest.raises(TuningError, match="refuses a conversation of tool, assistant: no role tool"):
        encode_completion(tokenizer, row("one", "two", role="tool"))


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{% for m in messages %}[user] {{ m['content'] }} {% endfor %}", r"ends an answer without '\[end\]'"),
        ("[user] [user] {% for m in messages %}{{ m['content'] }} [end] {% endfor %}", r"begins with '\[user\]' twice"),
    ],
)
def test_a_template_without_an_end_or_with_two_beginnings_is_refused(tokenizer: Any, template: str, fault: str) -> None:
    own = copy.deepcopy(tokenizer)
    own.chat_template, own.bos_token = template, "[user]"
    with pytest.raises(TuningError, match=fault):
        encode_completion(own, row("one", "two"))


ANSWERED = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} [end] {% endfor %}"


@pytest.mark.parametrize(
    ("template", "trained"),
    [
        # One that opens what a reasoning model thinks, but only where an answer is to come.
        (ANSWERED + "{% if add_generation_prompt %}[assistant] red {% endif %}", "[assistant] red blue [end]"),
        # One that says otherwise what went before, once it is answered.
        (
            "{{ 'north ' if add_generation_prompt else 'south ' }}"
            + ANSWERED
            + "{% if add_generation_prompt %}[assistant] {% endif %}",
            "[assistant] blue [end]",
        ),
    ],
)
def test_what_is_trained_begins_with_what_an_engine_is_sent(tokenizer: Any, template: str, trained: str) -> None:
    own = copy.deepcopy(tokenizer)
    own.chat_template = template
    encoded = encode_completion(own, row("what colour is sea", "blue"))
    sent = own.apply_chat_template([*row("what colour is sea", "").prompt], add_generation_prompt=True)["input_ids"]
    assert list(encoded.input_ids[: len(sent)]) == sent
    assert own.decode(encoded.input_ids).endswith(trained)
    assert own.convert_ids_to_tokens(encoded.input_ids[len(sent) :]) == ["blue", "[end]"]
    assert encoded.labels == (IGNORED,) * len(sent) + encoded.input_ids[len(sent) :]


@pytest.mark.parametrize("answer", ["d", "end", "", " two "])
def test_an_answer_that_is_a_part_of_the_end_token_is_found_before_it(tokenizer: Any, answer: str) -> None:
    own = copy.deepcopy(tokenizer)
    own.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] | trim }} [end] {% endfor %}"
        "{% if add_generation_prompt %}[assistant] red {% endif %}"
    )
    encoded = encode_completion(own, row("what colour is sea", answer))
    learned = own.convert_ids_to_tokens([label for label in encoded.labels if label != IGNORED])
    assert learned == [*(["[unk]"] if answer in ("d", "end") else answer.split()), "[end]"]


def test_a_first_word_that_grows_together_with_the_prompt_stays_the_answers() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    merges = [("l", "d"), (":", "o")]  # ":o" is one token, so that "say:" and "old" share it
    pieces = {piece: i for i, piece in enumerate([*"dlosay:|", "ld", ":o"])}
    backend = Tokenizer(models.BPE(pieces, merges))
    backend.pre_tokenizer = pre_tokenizers.Split("|", "isolated")
    own: Any = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="|")
    own.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% else %}:{{ m['content'] }}|{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}:{% endif %}"
    )
    encoded = encode_completion(own, row("say", "old"))
    assert own.convert_ids_to_tokens(encoded.input_ids) == ["s", "a", "y", ":", "o", "ld", "|"]
    assert encoded.labels[:4] == (IGNORED,) * 4
    assert encoded.labels[4] == pieces["o"]


def test_a_template_that_changes_prompt_and_answer_is_refused(tokenizer: Any) -> None:
    own = copy.deepcopy(tokenizer)
    own.chat_template = "{{ messages | length }} {{ messages[-1]['role'] }} [end]"
    with pytest.raises(TuningError, match="what is trained would not be what is asked"):
        encode_completion(own, row("one", "blue"))


def test_the_loss_counts_completion_tokens_alone() -> None:
    import torch

    asked: dict[str, Any] = {}

    def model(**inputs: Any) -> Any:
        asked.update(inputs)
        # Vocabulary of two words; at every position the second has e^x/(1+e^x) with x = the position.
        places = torch.arange(4.0)[inputs["logits_to_keep"]]
        return SimpleNamespace(logits=torch.stack([torch.zeros_like(places), places], -1).expand(2, -1, -1))

    inputs = {
        "input_ids": torch.tensor([[0, 1, 1, 0], [1, 0, 1, 1]]),
        "attention_mask": torch.ones(2, 4, dtype=torch.long),
        "labels": torch.tensor([[IGNORED, IGNORED, 1, 0], [IGNORED, IGNORED, IGNORED, 1]]),
    }
    # Scored: row 0 token 2 (word 1, predicted at 1) and token 3 (word 0, at 2); row 1 token 3 (word 1, at 2).
    expected = -(math.log(1 / (1 + math.exp(-1))) + math.log(1 / (1 + math.exp(2))) + math.log(1 / (1 + math.exp(-2))))
    assert completion_loss(model, inputs).item() == pytest.approx(expected / 3)
    assert completion_loss(model, inputs, num_tokens=6).item() == pytest.approx(expected / 6)
    assert asked["logits_to_keep"].tolist() == [1, 2], "the head runs where a next token is scored, and nowhere else"


def test_the_loss_equals_the_models_own(tiny_base: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    ids = torch.randint(6, 19, (3, 9), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[0, :5], labels[1, :7], labels[2, :2] = IGNORED, IGNORED, IGNORED
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    assert completion_loss(model, inputs).item() == pytest.approx(model(**inputs).loss.item(), rel=1e-6)
