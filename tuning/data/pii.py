"""What in a text points to a person or opens a door: e-mail addresses, phone numbers, accounts, cards, keys and, where
spaCy has a model, names. Presidio's recognizers find them.

finder = PiiFinder()
masker = Masker(finder)
masker.mask("Write to ada@example.org")     # "Write to <EMAIL_1>", and the same for every ada@example.org that follows
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tuning.errors import TuningError
from tuning.packages import missing

Kind = Literal["SECRET", "EMAIL", "IBAN", "CARD", "CRYPTO", "IP", "MAC", "PHONE", "NAME"]
"""In the order in which one wins where two overlap: a password in a URL is more than the address that it looks like."""

KINDS: tuple[Kind, ...] = get_args(Kind)
INSTALL = "pip install 'arbiter[pii]'"

# A user with a password in a URL, a key as a parameter of one, and keys that say whose they are.
_SECRETS = (
    r"\b[a-z][a-z0-9+.\-]*://[^\s/@:]+:[^\s/@]+@[^\s\"'<>]+",
    r"\b[a-z][a-z0-9+.\-]*://[^\s\"'<>]*[?&](?:access_token|api_?key|auth|key|password|pwd|secret|sig|token)=[^\s\"'<>]+",
    r"\b(?:sk|pk|rk|ghp|gho|ghs|github_pat|glpat|xox[abprs]|hf)[_\-][A-Za-z0-9_\-]{16,}",
    r"\bAKIA[0-9A-Z]{16}\b",
)
# Fewer digits has no phone number that a person is called at; to phonenumbers, "1647" is one, and so is "1648-1649".
_PHONE_DIGITS = 7
_DIGIT = re.compile(r"\d")
_YEAR = r"(?:1\d|20)\d\d"
_TIME = re.compile(rf"{_YEAR}\D+{_YEAR}|\d\d?([-./])\d\d?\1{_YEAR}|{_YEAR}([-./])\d\d?\2\d\d?")
# Presidio gives less to "::", which is an address and stands in many texts that name none.
_LEAST_SCORE = 0.2
# Of a row: what names it and its documents, and who speaks.
_NAMES = ("id", "doc_ids", "role")


@dataclass(frozen=True, slots=True)
class Found:
    """The characters [start, end) of a text, and what they are."""

    start: int
    end: int
    kind: Kind


class PiiFinder:
    """Finds what may point to a person; loads at the first text. `name_models` are the spaCy models that find names."""

    def __init__(self, kinds: Sequence[Kind] = KINDS, *, name_models: Sequence[str] | None = None) -> None:
        """Of these kinds alone. `name_models` are names or folders of spaCy models, None those that are installed.
        Raises TuningError where presidio is not installed, and for a model that is not there.
        """
        if obstacle := missing("looking for personal data", "presidio-analyzer", INSTALL):
            raise TuningError(obstacle)
        self._kinds = tuple(kind for kind in KINDS if kind in kinds)
        self._recognizers = _recognizers(self._kinds)
        self.name_models = tuple(_installed() if name_models is None else name_models) if "NAME" in kinds else ()
        self._pipelines = [_load(name) for name in self.name_models]

    def find(self, text: str) -> list[Found]:
        """What is there, from the first on; nothing overlaps."""
        found: list[Found] = []
        for kind, recognizer in self._recognizers:
            if kind == "PHONE" and len(_DIGIT.findall(text)) < _PHONE_DIGITS:
                continue
            spans = recognizer.analyze(text, recognizer.supported_entities, None)
            found += [
                Found(span.start, span.end, kind)
                for span in spans
                if span.score >= _LEAST_SCORE and (kind != "PHONE" or _may_be_called(text[span.start : span.end]))
            ]
        for pipeline in self._pipelines:
            spans = (span for span in pipeline(text).ents if span.label_ in ("PERSON", "PER"))
            found += [Found(span.start_char, span.end_char, "NAME") for span in spans]
        taken: list[Found] = []
        for one in sorted(found, key=lambda one: (KINDS.index(one.kind), one.start - one.end, one.start)):
            if all(one.end <= other.start or other.end <= one.start for other in taken):
                taken.append(one)
        return sorted(taken, key=lambda one: one.start)


class Masker:
    """Puts placeholders in the place of what is found: one for each value, whatever text it stands in.

    `counts` says how often each kind was masked; no value is kept anywhere else.
    """

    def __init__(self, finder: PiiFinder) -> None:
        self.finder = finder
        self._numbers: dict[tuple[Kind, str], int] = {}
        self.counts: Counter[Kind] = Counter()

    def mask(self, text: str) -> str:
        """The text with placeholders like <EMAIL_1>."""
        pieces, at = list[str](), 0
        for one in self.finder.find(text):
            value = re.sub(r"[\s.\-()/]", "", text[one.start : one.end]).casefold()
            number = self._numbers.setdefault((one.kind, value), 1 + sum(kind == one.kind for kind, _ in self._numbers))
            pieces += [text[at : one.start], f"<{one.kind}_{number}>"]
            at = one.end
            self.counts[one.kind] += 1
        return "".join([*pieces, text[at:]])

    def mask_row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with all its texts masked, those in lists and objects too; ids stay, since documents go by them."""
        masked: dict[str, Any] = over_texts(row, self.mask)
        return masked


def over_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with each of its texts changed, but for ids and roles."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: one if name in _NAMES else over_texts(one, change) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [over_texts(one, change) for one in value]
    return value


def _may_be_called(number: str) -> bool:
    """Whether this is no year, nor two of them, nor a day."""
    return len(_DIGIT.findall(number)) >= _PHONE_DIGITS and not _TIME.fullmatch(number)


def _recognizers(kinds: Sequence[Kind]) -> list[tuple[Kind, Any]]:
    from presidio_analyzer import Pattern, PatternRecognizer
    from presidio_analyzer import predefined_recognizers as presidio

    class AnyEmail(presidio.EmailRecognizer):  # type: ignore[misc]
        """Addresses within a company too: presidio's asks a list, out of the network, whether the domain may be."""

        def validate_result(self, pattern_text: str) -> None: ...

    patterns = [Pattern(f"secret {i}", pattern, 0.8) for i, pattern in enumerate(_SECRETS)]
    made: dict[Kind, Callable[[], Any]] = {
        "SECRET": lambda: PatternRecognizer("SECRET", patterns=patterns),
        "EMAIL": AnyEmail,
        "IBAN": presidio.IbanRecognizer,
        "CARD": presidio.CreditCardRecognizer,
        "CRYPTO": presidio.CryptoRecognizer,
        "IP": presidio.IpRecognizer,
        "MAC": presidio.MacAddressRecognizer,
        "PHONE": presidio.PhoneRecognizer,
    }
    return [(kind, made[kind]()) for kind in kinds if kind in made]


def _installed() -> list[str]:
    from spacy.util import get_installed_models

    return sorted(get_installed_models())


def _load(name: str) -> Any:
    import spacy

    try:
        return spacy.load(name)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise TuningError(f"the spaCy model {name!r} cannot be loaded: {reason}") from error
