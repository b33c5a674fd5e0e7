"""What Django's cache keeps in Redis."""

import pickle
from typing import Any

import pytest

from atatus_dash.cache import JSONSerializer, RedisCache


@pytest.mark.parametrize("value", [[1.5, 2.5], True, 7, "1", None, {"a": [1]}], ids=repr)
def test_a_cached_value_is_read_back_unchanged(value: object) -> None:
    kept = JSONSerializer().dumps(value)
    assert JSONSerializer().loads(str(kept).encode()) == value


def test_a_pickle_in_redis_is_not_loaded() -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # JSON's error, or the error for bytes that are not text
        JSONSerializer().loads(pickle.dumps(["a list"]))


def test_the_cache_on_redis_reads_only_json() -> None:
    client: Any = RedisCache("redis://127.0.0.1:1/0", {})._cache
    assert isinstance(client._serializer, JSONSerializer)
