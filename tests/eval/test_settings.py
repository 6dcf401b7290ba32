import pytest

from eval.errors import EvalError
from eval.settings import JudgeEndpoint


def test_the_key_comes_from_the_environment_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = JudgeEndpoint("http://judge.test/v1", "judge")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert judge.api_key == "sk-secret"
    assert "sk-secret" not in repr(judge)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert judge.api_key == "none"


def test_values_out_of_bounds_are_refused() -> None:
    with pytest.raises(EvalError, match="concurrency must be a whole number of at least 1, not 0"):
        JudgeEndpoint("http://judge.test/v1", "judge", concurrency=0)
