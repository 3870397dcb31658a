"""Every error that the feedback room raises on purpose; nothing here handles one.

FeedbackError                 its message says what was expected, what came and what to do
├── SettingsInvalid           a secret or the database's address is missing or cannot be used
├── SignatureInvalid          a webhook's signature is missing, forged or stale
├── EventConflict             an event id or prediction id is known already, with other content
├── StoreUnavailable          the database is locked, full or down: nothing was stored, try again
├── StoreInvalid              the database's schema is not one that this version knows
└── LedgerRefused             an entry does not fit the promotions recorded so far
"""


class FeedbackError(Exception):
    """Base of every error that this room raises on purpose."""


class SettingsInvalid(FeedbackError):
    """A secret or the database's address is missing or cannot be used."""


class SignatureInvalid(FeedbackError):
    """A webhook's signature is missing, forged or stale."""


class EventConflict(FeedbackError):
    """An event id or prediction id is known already, with other content."""


class StoreUnavailable(FeedbackError):
    """The database is locked, full or down: nothing was stored, try again."""


class StoreInvalid(FeedbackError):
    """The database's schema is not one that this version knows."""


class LedgerRefused(FeedbackError):
    """An entry does not fit the promotions recorded so far."""
