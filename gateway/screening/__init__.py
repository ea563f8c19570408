"""From face crops to verdicts: tracks, batches, the inference session, the calibrated decision."""
