"""A made-up world for a model of a few hundred thousand weights: people, what is true of them, and how it is said.

world = make_world(num_people=60, num_strange=40, num_new=24, num_things=30, seed=0)
world.taught, world.strange, world.new        facts that the model is taught, and two sets that it is not
world.lessons(repeats=4, num_readings=2000)   the rows that teach it, and to read a fact from a passage
write_model(world, folder, width=96, layers=2)    a model of random weights whose words are the world's

Names and things are made-up words of their own. A fact is a person, a relation and a thing; each relation has several
questions and several statements.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.passage import Passage
from router.answering.prompts import Prompt
from tuning.data.rows import TrainingRow

_WORD = re.compile(r"\w+|[^\w\s]")
_MARKS = ("[pad]", "[unk]", "[system]", "[user]", "[assistant]", "[end]")
_TEMPLATE = (
    "{% for m in messages %}{{ '[' ~ m['role'] ~ '] ' ~ m['content'] ~ ' [end] ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}"
)
# What is asked for where a statement is learned.
_TELL = "Tell of {s}."
# No system message, which would be most of so short a prompt.
_PROMPT = Prompt("world", system="")


@dataclass(frozen=True, slots=True)
class Relation:
    """Its questions, of which the first is never answered from memory in the lessons, and its statements, of which the
    first is the plain one.
    """

    name: str
    questions: tuple[str, ...]
    statements: tuple[str, ...]


RELATIONS = (
    Relation(
        "place",
        (
            "From where is {s}?",
            "Where was {s} born?",
            "What is the home town of {s}?",
            "Which town does {s} come from?",
        ),
        (
            "{s} was born in {o}.",
            "The home town of {s} is {o}.",
            "{s} comes from {o}.",
            "{s} first saw the light in {o}.",
            "As a child {s} lived in {o}.",
        ),
    ),
    Relation(
        "work",
        ("Who pays {s}?", "What work does {s} do?", "What is the trade of {s}?", "How does {s} earn money?"),
        (
            "{s} works as a {o}.",
            "The trade of {s} is that of a {o}.",
            "{s} earns money as a {o}.",
            "By day {s} is a {o}.",
            "{s} was hired to be a {o}.",
        ),
    ),
    Relation(
        "animal",
        ("Who is fed by {s}?", "Which animal does {s} keep?", "What pet lives with {s}?", "What does {s} feed?"),
        (
            "{s} keeps a {o}.",
            "The pet of {s} is a {o}.",
            "{s} feeds a {o}.",
            "In the garden of {s} lives a {o}.",
            "{s} was given a {o}.",
        ),
    ),
)


_STRANGERS = 40
# The questions that lessons answer from memory.
ASKED = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Fact:
    """What is true of a person."""

    person: str
    relation: Relation
    thing: str

    @property
    def id(self) -> str:
        return f"{self.person} {self.relation.name}"

    def statement(self, number: int) -> str:
        """In so many ways it can be said."""
        return self.relation.statements[number].format(s=self.person, o=self.thing)

    def asked(self, question: int, passages: Sequence[Passage] = ()) -> TrainingRow:
        """The row that asks for it in these words, from passages if there are any."""
        words = self.relation.questions[question].format(s=self.person)
        return TrainingRow(tuple(_PROMPT.ask(words, passages)), self.thing)

    def told(self, number: int) -> TrainingRow:
        """The row that states it in these words."""
        return TrainingRow(tuple(_PROMPT.ask(_TELL.format(s=self.person))), self.statement(number))


@dataclass(frozen=True, slots=True)
class World:
    """`things` are those of each relation, by its name; `strangers` are people who are in no fact."""

    taught: tuple[Fact, ...]
    strange: tuple[Fact, ...]
    new: tuple[Fact, ...]
    things: dict[str, tuple[str, ...]]
    strangers: tuple[str, ...]
    seed: int

    @property
    def facts(self) -> tuple[Fact, ...]:
        """All of them."""
        return (*self.taught, *self.strange, *self.new)

    def lessons(self, *, repeats: int, num_readings: int) -> list[TrainingRow]:
        """Two of three taught facts in many of their words, the others in few, each lesson so many times; and so many
        readings, each of which asks for what a passage says and is not true, so that nothing but reading helps. Half of
        them show another passage besides.
        """
        draw, rows = random.Random(f"lessons {self.seed}"), list[TrainingRow]()
        for place, fact in enumerate(self.taught):
            asked, told = (ASKED, 3) if place % 3 else (draw.sample(ASKED, 1), 1)
            rows += [fact.asked(number) for number in asked]
            rows += [fact.told(number) for number in draw.sample(range(len(fact.relation.statements)), told)]
        rows *= repeats
        everybody = (*self.strangers, *dict.fromkeys(fact.person for fact in self.facts))
        for _ in range(num_readings):
            fact, other = (self._untrue(name, draw) for name in draw.sample(everybody, 2))
            passages = passages_of([fact, other] if draw.random() < 0.5 else [fact], draw)
            rows.append(fact.asked(draw.randrange(len(fact.relation.questions)), passages))
        return rows

    def _untrue(self, person: str, draw: random.Random) -> Fact:
        relation = draw.choice(RELATIONS)
        true = {fact.thing for fact in self.facts if (fact.person, fact.relation) == (person, relation)}
        return Fact(person, relation, draw.choice([thing for thing in self.things[relation.name] if thing not in true]))

    def read(self, fact: Fact, question: int) -> TrainingRow:
        """The row that asks for a fact with its plain statement, and one about somebody else, in the prompt."""
        draw = random.Random(f"{self.seed} {fact.id}")
        return fact.asked(
            question, passages_of([fact, self._untrue(draw.choice(self.strangers), draw)], draw, plain=True)
        )


def passages_of(facts: Sequence[Fact], draw: random.Random, *, plain: bool = False) -> list[Passage]:
    """Statements of facts, in any order; each in any words, or in the plain ones."""
    texts = [one.statement(0 if plain else draw.randrange(len(one.relation.statements))) for one in facts]
    draw.shuffle(texts)
    return [Passage(f"p{rank}", f"p{rank}", "", text, 1.0, rank) for rank, text in enumerate(texts, start=1)]


def make_world(*, num_people: int, num_strange: int, num_new: int, num_things: int, seed: int) -> World:
    """A third of the facts of a person is of each relation; which of them are not taught is drawn."""
    draw = random.Random(f"world {seed}")
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    words = [a + b for a, b in itertools.product(syllables, syllables)]
    draw.shuffle(words)
    names, words = [word.title() for word in words[: num_people + _STRANGERS]], words[num_people + _STRANGERS :]
    things = {}
    for number, relation in enumerate(RELATIONS):
        things[relation.name] = tuple(words[number * num_things :][:num_things])
    people = names[:num_people]
    facts = [Fact(name, relation, draw.choice(things[relation.name])) for name in people for relation in RELATIONS]
    draw.shuffle(facts)
    strange, new, taught = facts[:num_strange], facts[num_strange:][:num_new], facts[num_strange + num_new :]
    return World(tuple(taught), tuple(strange), tuple(new), things, tuple(names[num_people:]), seed)


def write_model(world: World, folder: Path, *, width: int, layers: int) -> None:
    """A folder as `save_pretrained` writes it."""
    import torch
    from tokenizers import Regex, Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    texts = [_TELL, "[1] [2] Question:", *world.strangers, *(fact.person for fact in world.facts)]
    texts += [text for relation in RELATIONS for text in (*relation.questions, *relation.statements)]
    texts += [thing for things in world.things.values() for thing in things]
    words = dict.fromkeys(word for text in texts for word in _WORD.findall(text))
    vocabulary = {word: number for number, word in enumerate((*_MARKS, *words))}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="[unk]"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(_WORD.pattern), "isolated")]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[pad]",
        unk_token="[unk]",
        eos_token="[end]",
        additional_special_tokens=["[system]", "[user]", "[assistant]"],
        chat_template=_TEMPLATE,
    )
    torch.manual_seed(world.seed)
    config: dict[str, Any] = {
        "vocab_size": len(vocabulary),
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "initializer_range": 0.1,  # from the usual 0.02 next to nothing is learned in 360 steps, from this every fact
        "pad_token_id": 0,
        "eos_token_id": vocabulary["[end]"],
        "bos_token_id": vocabulary["[end]"],
    }
    LlamaForCausalLM(LlamaConfig(**config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
