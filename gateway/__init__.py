"""The gateway: cameras in, alerts out."""
