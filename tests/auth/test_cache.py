"""The cache forgets by age and by size, and by nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wsproxy.auth.cache import ExpiringCache


def test_a_value_is_there_until_its_lifetime_ends() -> None:
    cache: ExpiringCache[str] = ExpiringCache(max_entries=2, lifetime_s=10)
    cache.put(b"k", "v", now=100.0)

    assert cache.get(b"k", now=109.9) == "v"
    assert cache.get(b"k", now=110.0) is None
    assert len(cache) == 0


def test_reading_does_not_lengthen_a_life_but_putting_again_does() -> None:
    cache: ExpiringCache[str] = ExpiringCache(max_entries=2, lifetime_s=10)
    cache.put(b"read", "v", now=0.0)
    cache.put(b"again", "v", now=0.0)
    cache.get(b"read", now=9.0)
    cache.put(b"again", "w", now=9.0)

    assert cache.get(b"read", now=10.0) is None
    assert cache.get(b"again", now=18.9) == "w"


def test_the_least_recently_used_entry_makes_room() -> None:
    cache: ExpiringCache[str] = ExpiringCache(max_entries=2, lifetime_s=10)
    cache.put(b"a", "a", now=0.0)
    cache.put(b"b", "b", now=0.0)
    cache.get(b"a", now=1.0)
    cache.put(b"c", "c", now=2.0)

    assert cache.get(b"a", now=3.0) == "a"
    assert cache.get(b"b", now=3.0) is None
    assert cache.get(b"c", now=3.0) == "c"


@given(keys=st.lists(st.binary(max_size=2)), size=st.integers(1, 5))
def test_it_never_holds_more_than_its_bound_and_always_the_last(
    keys: list[bytes], size: int
) -> None:
    cache: ExpiringCache[int] = ExpiringCache(max_entries=size, lifetime_s=10)
    for at, key in enumerate(keys):
        cache.put(key, at, now=0.0)
        assert len(cache) <= size
        assert cache.get(key, now=0.0) == at
    assert len(cache) == min(size, len(set(keys)))
