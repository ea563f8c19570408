"""Errors, split by who must act."""


class SpectragateError(Exception):
    """Base of every error this product raises on purpose; its text says what, where and what to do."""


class ConfigError(SpectragateError):
    """The operator must change the configuration or the command line; exit code 78."""


class SourceError(SpectragateError):
    """A camera or recording cannot be read; the others go on."""


class DeliveryError(SpectragateError):
    """The broker refuses or cannot be reached."""


class RuntimeFault(SpectragateError):
    """Our own fault or the device's: the process ends and its supervisor restarts it."""
