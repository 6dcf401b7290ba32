import pytest

from rag.errors import RagError
from rag.langchain.factory import construct, describe_error, identity, resolve


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("datetime", "write it as package.module:Class"),
        (
            "no_such_package.stores:Store",
            "needs the module 'no_such_package'; .*pip install no-such-package",
        ),
        ("datetime:Nothing", "is not there"),
        ("datetime:MAXYEAR", "is a int; name a class or a function"),
        ("not a module:X", "is not there"),
    ],
)
def test_a_path_that_leads_nowhere_says_what_to_do(path: str, fault: str) -> None:
    with pytest.raises(RagError, match=fault):
        resolve(path)


def test_a_path_may_lead_to_a_method() -> None:
    assert construct("datetime:date.fromisoformat", {}, "2026-01-31").day == 31
    assert construct("datetime:timedelta", {"hours": 2}).seconds == 7200


def test_what_a_factory_does_not_take_is_one_line() -> None:
    with pytest.raises(RagError, match=r"^'datetime:timedelta' cannot be opened: TypeError: .*'eons'.*$"):
        construct("datetime:timedelta", {"eons": 2})


def test_an_identity_follows_the_options_but_not_the_secrets() -> None:
    one = identity("a:B", {"url": "x", "api_key": "1"})
    assert one == identity("a:B", {"api_key": "2", "url": "x"})
    assert len({one, identity("a:B", {"url": "y"}), identity("a:C", {"url": "x"})}) == 3


def test_an_error_is_told_without_secrets_and_in_one_line() -> None:
    error = ValueError("no access with s3cret to http://x\nmore")
    assert (
        describe_error(error, {"password": "s3cret", "url": "http://x"}) == "ValueError: no access with *** to http://x"
    )
    assert describe_error(ValueError(), {}) == "ValueError: no reason given"
