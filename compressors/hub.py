"""The Hugging Face hub's refusals, each as one line for the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from compressors.errors import CompressionError


@contextmanager
def refusals(
    subject: str,
    kind: type[CompressionError],
    *,
    revision: str | None,
    offline: bool,
    fetch: str,
    instead: str = "",
) -> Iterator[None]:
    """Turn every way in which the hub client refuses inside the block into an error of `kind`, one line.

    subject: begins the line. fetch: the command that fetches what is missing. instead: what else was looked for, or
    could be given.
    """
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError:
        mend = "accept its licence on its hub page, then set HF_TOKEN or run 'hf auth login'"
        raise kind(f"{subject}: gated on the hub; {mend}") from None
    except RevisionNotFoundError:
        raise kind(f"{subject}: the hub has no revision {revision!r} of it") from None
    except (RepositoryNotFoundError, HFValidationError):
        nor = ", and no folder of that name here" if instead else ""
        raise kind(f"{subject}: not on the hub (or private: set HF_TOKEN){nor}") from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        where = "offline, and it is not in the local hub cache" if offline else "the hub cannot be reached"
        raise kind(f"{subject}: {where}; fetch it first with '{fetch}'{instead}") from None
    except EntryNotFoundError:
        raise kind(f"{subject}: the hub has no such file in it at that revision") from None
    except (HfHubHTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise kind(f"{subject}: fetching it failed: {reason}") from None
