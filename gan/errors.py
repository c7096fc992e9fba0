"""What a user can do wrong, told apart from what is wrong with the program.

A `UserError` carries a message that is complete by itself: it names the key, file or argument,
what was found and what was expected. Command lines print it without a traceback and exit with 2.
"""


class UserError(Exception):
    """Bad input. The message is meant to be read by the user, alone."""


class ConfigError(UserError):
    """A configuration that is not valid; the message lists every error at once."""


class DataError(UserError):
    """Data that is missing, damaged, or not what the configuration says."""


class StateError(UserError):
    """A saved state or a published file that cannot be used."""


class TrainingError(UserError):
    """A training run that cannot go on, a non-finite loss for example."""
