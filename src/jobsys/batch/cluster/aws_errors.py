"""What an error of botocore means to who asks AWS Batch: whether it may pass, in plain words."""

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any, Final

from jobsys.batch.cluster.scheduler import AskRefusedError, PassingError
from jobsys.errors import BatchSystemError

_PASSING: Final = (
    "Throttl",
    "TooManyRequests",
    "RequestLimitExceeded",
    "ServerException",
    "InternalError",
    "SlowDown",
    "ServiceUnavailable",
)
_RENEW: Final = "aws sts get-caller-identity tells who asks"


@contextlib.contextmanager
def calling(doing: str, refusal: bool = False) -> Iterator[None]:
    """Translate what boto3 raises within.

    Args:
        doing: what is asked for.
        refusal: a no is one to an ask.

    Raises:
        PassingError: the same may succeed later.
        AskRefusedError: Amazon says no to an ask.
        BatchSystemError: it says no to something else, or nobody can be asked.
    """
    exceptions = importlib.import_module("botocore.exceptions")
    try:
        yield
    except exceptions.ClientError as error:
        raise _answered(error, doing, refusal) from error
    except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        raise PassingError(f"AWS Batch: can't {doing}: {error}") from error
    except exceptions.BotoCoreError as error:
        raise BatchSystemError(f"AWS Batch: can't {doing}: {error}; {_RENEW}") from error


def _answered(error: Any, doing: str, refusal: bool) -> BatchSystemError:
    said, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    code, status = str(said.get("Code", "")), int(meta.get("HTTPStatusCode", 0))
    text = f"AWS Batch: can't {doing}: {code}: {said.get('Message', '')}"
    if status in (429, *range(500, 600)) or any(part in code for part in _PASSING):
        return PassingError(text)
    if refusal:
        return AskRefusedError(f"{text}; docs/clusters/aws-batch.md tells what it takes")
    return BatchSystemError(f"{text}; {_RENEW}")
