import pytest
from fakes.comparison import Comparison, make_comparison


@pytest.fixture
def comparison() -> Comparison:
    """Six arms on twenty questions, decided by token F1; hybrid wins."""
    return make_comparison()
