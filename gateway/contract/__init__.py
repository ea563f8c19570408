"""What gateway and trainer must agree on: spectra, networks, bundles, messages, topics. Standard library, numpy and pydantic only."""
