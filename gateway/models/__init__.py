"""The bundles and graph templates that ship with the gateway."""
