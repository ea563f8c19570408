"""Tokens and the time, which the test brings."""

from gateway.contract.bucket import Bucket


def test_tokens_come_back_with_the_time_and_never_beyond_the_most() -> None:
    """So many at once, then so many a second; how long to wait is told."""
    bucket = Bucket(2, 0.5, now_s=10.0)
    assert [bucket.take(10.0) for _ in range(3)] == [True, True, False]
    assert bucket.wait_s == 2.0
    assert not bucket.take(11.0)
    assert bucket.wait_s == 1.0
    assert bucket.take(12.0)
    assert [bucket.take(1000.0) for _ in range(3)] == [True, True, False]
