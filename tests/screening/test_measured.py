"""Histograms of batches."""

from gateway.screening.measured import Histogram, Measured


def test_values_are_counted_up_to_their_bound() -> None:
    """A value on a bound belongs to it; one beyond all is in the count alone."""
    histogram = Histogram((1.0, 2.0, 4.0))
    assert histogram.cumulated() == (0, 0, 0)
    for value in (1.0, 1.5, 2.0, 9.0):
        histogram.note(value)
    assert histogram.cumulated() == (1, 3, 3)
    assert (histogram.count, histogram.sum) == (4, 13.5)


def test_batches_are_counted_by_device() -> None:
    """Each device has its own times; sizes are counted together."""
    measured = Measured()
    measured.note(3, took_s=0.02, device="cpu")
    measured.note(5, took_s=0.001, device="cuda")
    assert (measured.faces.count, measured.faces.sum) == (2, 8.0)
    assert {device: each.count for device, each in measured.took_s.items()} == {"cpu": 1, "cuda": 1}
