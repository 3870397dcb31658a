"""Every error that Ratchet raises on purpose; nothing here handles one.

RatchetError                      what Ratchet raises; its message says what was expected, what came and what to do
├── UserError                     the user can mend it: one line on the terminal, exit code 2
│   ├── SpecError                 the spec does not validate (names file, field and mend)
│   ├── DataError                 the data cannot be used (names file or source, row and column)
│   │   ├── LeakageError          evaluation rows also stand in train
│   │   └── GoldenError           the sealed golden set lost or changed rows
│   ├── ModelError                a base model cannot be loaded or trained
│   └── ReviewError               a version cannot be reviewed, promoted or rolled back as asked
├── ArtifactError                 a stored artifact is missing, incomplete or does not match its digest
├── RegistryError                 the MLflow registry cannot be reached or answered nonsense
└── StorageError                  the disk is full or cannot be written
"""


class RatchetError(Exception):
    """Base of every error that Ratchet raises on purpose."""


class UserError(RatchetError):
    """A mistake that the user can mend: shown as one line, exit code 2."""


class SpecError(UserError):
    """The spec does not validate."""


class DataError(UserError):
    """The data cannot be used as it is."""


class LeakageError(DataError):
    """Evaluation rows also stand in train."""


class GoldenError(DataError):
    """The sealed golden set lost or changed rows."""


class ModelError(UserError):
    """A base model cannot be loaded or trained."""


class ReviewError(UserError):
    """A version cannot be reviewed, promoted or rolled back as asked."""


class ArtifactError(RatchetError):
    """A stored artifact is missing, incomplete or does not match its digest."""


class RegistryError(RatchetError):
    """The registry cannot be reached or answered nonsense."""


class StorageError(RatchetError):
    """The disk is full or cannot be written."""
