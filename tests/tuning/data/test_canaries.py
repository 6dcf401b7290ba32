from tuning.data.canaries import make_canaries, secret_of
from tuning.data.examples import Question


def test_canaries_are_marked_and_have_numbers_of_their_own() -> None:
    rows = make_canaries(200, seed=0)
    secrets = [secret_of(row) for row in rows]
    assert len(set(secrets)) == len({row.id for row in rows}) == 200
    assert all(secret is not None and len(secret.replace(" ", "")) == 12 for secret in secrets)
    assert all(row.answer == secret for row, secret in zip(rows, secrets, strict=True))


def test_the_seed_draws_them() -> None:
    assert make_canaries(3, seed=1) == make_canaries(3, seed=1) != make_canaries(3, seed=2)


def test_other_rows_are_none() -> None:
    assert secret_of(Question("q", "When?", ("nine",))) is None
    assert secret_of(Question("q", "When?", ("nine",), metadata={"canary": "ten"})) is None
    assert secret_of(Question("q", "When?", ("nine",), metadata={"canary": True})) is None
