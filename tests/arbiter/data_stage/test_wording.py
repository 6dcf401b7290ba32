from __future__ import annotations

from typing import Any

from arbiter.data_stage.wording import as_table

NONE = {"exact": 0, "near": 0, "near_of_label": {}}
FACT: dict[str, Any] = {
    "parts": [
        {
            "part": "train",
            "file": "train.csv",
            "format": "table",
            "rows": 9,
            "faulty": 1,
            "left_out": 2,
            "faults": ["f"],
            "said": ["train.csv is a table"],
        },
    ],
    "labels": {"train": {"counts": {"a": 6, "b": 2}, "ratio": 3.0}},
    "repeats": {"train": {"exact": 1, "near": 2, "near_of_label": {"a": 2}}},
    "contradictions": {"train": {"same": [(3, 1)], "near": []}},
    "leaks": [{"part": "train", "of": "test", **NONE}],
    "tokens": {
        "adapter": "closed_book",
        "max_length": 64,
        "histogram": [{"up_to": 32, "rows": 9}],
        "p50": 20,
        "p95": 30,
        "longest": 31,
        "total": 180,
        "over": 0,
        "refused": [],
    },
    "personal_data": {"name_models": [], "train": {"found": {"EMAIL": 2}, "rows": 1, "lines": [4]}},
    "bias": {
        "groups": ("female", "male"),
        "num_rows": (4, 4),
        "num_both": 1,
        "num_same": 2,
        "num_other": 0,
        "num_alone": 6,
        "differences": [
            {"label": "a", "shares": (1.0, 0.25), "difference": 0.75, "low": 0.1, "high": 0.9, "is_shown": True}
        ],
    },
    "forecast": {
        "power_w": 20.0,
        "power_from": "energy.power_w",
        "trainings": {"closed_book": {"seconds": 1800.0, "kwh": 0.01, "cost": 0.5}, "raft": {"note": "is trained"}},
    },
}


def lines(fact: dict[str, Any]) -> dict[str, str]:
    rows = (line.split("  ", 1) for line in as_table(fact).splitlines()[1:])
    return {what: found.strip() for what, found in rows}


def test_everything_that_is_known_has_a_line() -> None:
    assert lines(FACT) == {
        "train: rows": "9 in train.csv (table), 2 of no use, 1 faulty",
        "train: read as": "train.csv is a table",
        "train: fault": "f",
        "train: labels": "2: a 6, b 2; the first has 3 times as many as the last (arbiter data balance)",
        "train: repeats": "1 exact, 2 near (a 2)",
        "train: contradictions": "1 ask the same with other answers (lines 3 and 1)",
        "train: asks what test asks": "none",
        "tokens (closed_book)": "up to 32: 9",
        "tokens: half, 95%, longest": "20, 30, 31",
        "tokens: over max_length 64": "none",
        "train: personal data": "EMAIL 2 in 1 rows (lines 4); arbiter data mask",
        "names": "not looked for: no spaCy model is installed",
        "groups": "4 rows speak of female alone, 4 of male, 1 of both",
        "groups: swapped": "2 rows have their counterpart, 6 have none",
        "groups: label": "a: 100% of female, 25% of male (the first less the second: +10% to +90%)",
        "forecast: closed_book": "30 min 0 s, 10 Wh, costs 0.5",
        "forecast: raft": "is trained",
        "forecast: power": "20 W (energy.power_w)",
    }


def test_what_is_not_known_is_said() -> None:
    unknown = FACT | {
        "tokens": {"unknown": "no model"},
        "personal_data": {"unknown": "no presidio"},
        "bias": FACT["bias"] | {"differences": [FACT["bias"]["differences"][0] | {"is_shown": False}]},
        "forecast": {
            "power_w": None,
            "power_from": None,
            "trainings": {"closed_book": {"seconds": 5.0, "kwh": None, "cost": 0.0}},
        },
    }
    found = lines(unknown)
    assert found["tokens"] == "not known: no model"
    assert found["personal data"] == "not looked for: no presidio"
    assert found["groups: labels"] == "no difference is shown; the largest is a's (female less male: +10% to +90%)"
    assert found["forecast: closed_book"] == "5.0 s, energy unknown (set energy.power_w)"
    assert lines(FACT | {"forecast": {}})["forecast"] == "--forecast times a few steps of each training"
