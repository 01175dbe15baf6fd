"""The root of all errors that dev.py shows as one line instead of a traceback."""


class DevError(Exception):
    """Something a person can put right; the message is one line and says what."""
