"""What gateway and trainer must agree on: spectra, geometry, networks, calibration, bundles, messages, topics.

Standard library, numpy and pydantic only.
"""
