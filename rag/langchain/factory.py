"""Objects of other packages by a name from the config: `construct("langchain_openai:OpenAIEmbeddings", {...})`."""

from __future__ import annotations

import hashlib
import json
import pkgutil
import re
from collections.abc import Callable, Mapping
from typing import Any

from rag.errors import RagError

# A value under such a name is shown nowhere and changes no identity: a new key opens the same store.
_SECRET = re.compile(r"key|token|secret|password|credential|headers|connection|dsn|auth", re.IGNORECASE)


def construct(
    name: str, options: Mapping[str, Any], *arguments: object, factory: Callable[..., Any] | None = None
) -> Any:
    """What `factory`, or else the callable at the path `name`, makes of the options.

    A path is "package.module:Class" or "package.module:Class.method". Raises RagError, in one line, when there is no
    such callable or it does not take or like what it is given.
    """
    factory = factory or resolve(name)
    try:
        return factory(*arguments, **options)
    except RagError:
        raise
    except ModuleNotFoundError as error:
        raise _missing(name, error) from error
    except Exception as error:
        raise RagError(f"{name!r} cannot be opened: {describe_error(error, options)}") from error


def resolve(path: str) -> Any:
    """The callable at a dotted path. Raises RagError."""
    module, _, name = path.partition(":")
    if not name:
        raise RagError(f"{path!r} names nothing that can be opened; write it as package.module:Class")
    try:
        found = pkgutil.resolve_name(path)
    except ModuleNotFoundError as error:
        raise _missing(path, error) from error
    except (AttributeError, ImportError, ValueError) as error:
        raise RagError(f"{path!r} is not there ({error}); check what {module!r} calls it") from error
    if not callable(found):
        raise RagError(f"{path!r} is a {type(found).__name__}; name a class or a function")
    return found


def identity(path: str, options: Mapping[str, Any]) -> str:
    """A hash (hex) of the path and of all options but the secret ones."""
    shown = {key: value for key, value in options.items() if not _SECRET.search(key)}
    return hashlib.sha256(json.dumps([path, shown], sort_keys=True, default=str).encode()).hexdigest()[:16]


def describe_error(error: Exception, options: Mapping[str, Any]) -> str:
    """The first line of an error, its kind before it, without any secret option's value."""
    words = (str(error).strip() or "no reason given").split("\n", 1)[0]
    for key, value in options.items():
        if _SECRET.search(key) and isinstance(value, str) and value:
            words = words.replace(value, "***")
    return f"{type(error).__name__}: {words}"


def _missing(name: str, error: ModuleNotFoundError) -> RagError:
    package = (error.name or name).split(".", 1)[0].replace("_", "-")
    return RagError(
        f"{name!r} needs the module {error.name!r}; install the package that holds it: pip install {package}"
    )
