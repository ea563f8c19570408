"""Recordings through the frame path: labels, metrics, and a report that is the same on every machine."""
