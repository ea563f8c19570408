"""The trainer: makes, judges and exports the detector's weights."""
