import pytest

from eval.sweep.space import Choices, Range, Settings, num_combinations, same


@pytest.mark.parametrize(
    ("part", "faults"),
    [
        (Choices((1, 2)), []),
        (Choices((True, 1)), []),
        (Choices(()), ["the list of choices is empty; give at least one"]),
        (Choices((1, 2, 1)), ["1 is listed twice"]),
        (Range(1, 4), []),
        (Range(4, 4), ["low 4 must be below high 4"]),
        (Range(0, 1.0, log=True), ["log needs low above 0, not 0"]),
        (Range(1.0, 2.0, step=0), ["step 0 must be above 0"]),
        (Range(1, 9, step=2, log=True), ["log and step exclude each other; leave one out"]),
        (Range(0, float("inf")), ["low and high must be finite numbers"]),
    ],
)
def test_faults_of_choices_and_ranges(part: Choices | Range, faults: list[str]) -> None:
    assert list(part.faults()) == faults


@pytest.mark.parametrize(
    ("part", "default", "widened"),
    [
        (Choices((1, 4)), 2, Choices((1, 2, 4))),
        (Choices((1, 4)), 4, Choices((1, 4))),
        (Choices(("b",)), "a", Choices(("b", "a"))),
        (Choices(("raft",)), None, Choices(("raft", None))),
        (Range(1e-4, 1e-3, log=True), 3e-3, Range(1e-4, 3e-3, log=True)),
        (Range(8, 16), 32, Range(8, 32)),
        (Range(60, 240, step=20), 120, Range(60, 240, step=20)),
        (Range(60, 120, step=30), 100, Choices((60, 90, 100, 120))),
        (Range(1, 3), 1.5, Choices((1, 1.5, 2, 3))),
        (Range(0.1, 0.3, step=0.1), 0.3, Range(0.1, 0.3, step=0.1)),
    ],
)
def test_the_users_own_value_is_always_in_the_space(
    part: Choices | Range, default: object, widened: Choices | Range
) -> None:
    assert part.including(default) == widened  # type: ignore[arg-type]


def test_a_range_around_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="the config has 'answer' there, which is in no range; list the values"):
        Range(1, 3).including("answer")


def test_a_grid_counts_its_combinations_and_a_continuous_range_cannot_be_counted() -> None:
    grid = {"k": Choices((1, 2, 4)), "tokens": Range(60, 240, step=20), "rank": Range(8, 16)}
    assert num_combinations(grid) == 3 * 10 * 9
    assert num_combinations({**grid, "rate": Range(1e-4, 1e-3)}) is None
    assert Range(0.1, 0.35, step=0.1).grid() == (0.1, 0.2, 0.3)


def test_whole_ranges_have_only_whole_numbers_to_be_possible() -> None:
    assert Range(1, 4).ends() == (1, 4)
    low, broken, high = Range(1.0, 4.0).ends()
    assert (low, high) == (1.0, 4.0)
    assert broken != int(broken)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("a", "b", "are_same"),
    [
        ({"k": 2}, {"k": 2.0}, True),
        ({"k": 1}, {"k": True}, False),
        ({"k": 1}, {"k": 1, "n": 1}, False),
        ({"k": None}, {"k": 0}, False),
    ],
)
def test_settings_are_compared_by_value(a: Settings, b: Settings, are_same: bool) -> None:
    assert same(a, b) is are_same


def test_a_drawn_number_has_three_digits_and_stays_in_its_range() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    def draw(part: Range) -> int | float:
        return part.rounded(study.ask({str(part): part.distribution()}).params[str(part)])

    for _ in range(30):
        value = draw(Range(1.23456e-4, 1.3e-4))
        assert isinstance(value, float)
        assert 1.23456e-4 <= value <= 1.3e-4
        assert value == 1.23456e-4 or len(f"{value:e}".split("e")[0].rstrip("0")) <= 4
        assert draw(Range(0.1, 0.55, step=0.1)) in (0.1, 0.2, 0.3, 0.4, 0.5)
        assert isinstance(draw(Range(8, 64, log=True)), int)
