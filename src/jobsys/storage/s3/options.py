"""What jobsys asks of S3 beyond what boto3 finds out by itself (region, credentials, profile, CA bundle, proxies, path style)."""

import base64
import os
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from jobsys.errors import UsageError

ENDPOINT: Final = "JOBSYS_S3_ENDPOINT_URL"
SSE: Final = "JOBSYS_S3_SSE"
SSE_KEY: Final = "JOBSYS_S3_SSE_KEY"
OWNER: Final = "JOBSYS_S3_OWNER"
REQUESTER_PAYS: Final = "JOBSYS_S3_REQUESTER_PAYS"
UNFENCED: Final = "JOBSYS_S3_UNFENCED"
VARIABLES: Final = (ENDPOINT, SSE, SSE_KEY, OWNER, REQUESTER_PAYS, UNFENCED)

_NAMES: Final = {
    ENDPOINT: "endpoint_url",
    SSE: "sse",
    OWNER: "owner",
    REQUESTER_PAYS: "requester_pays",
    UNFENCED: "unfenced",
}

AES: Final = "AES256"
KMS: Final = "aws:kms"
CUSTOMER: Final = "customer"
_KEY_BYTES: Final = 32


class Options(msgspec.Struct, frozen=True):
    """How a bucket is used; the same for the leader, the workers and every command that looks at a run."""

    endpoint_url: str = ""
    sse: str = ""  # "", AES256, aws:kms, aws:kms:KEY, customer
    sse_key: str = ""  # of 'customer': 32 bytes as base64; in memory and in environments only
    owner: str = ""  # the account that must own the bucket
    requester_pays: bool = False
    unfenced: bool = False  # the server's create-if-absent does not hold under a race, and the user knows

    def __repr__(self) -> str:
        """Show all but the key."""
        return f"Options({', '.join(f'{name}={value!r}' for name, value in self.environment().items() if name != SSE_KEY)})"

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Options":
        """Read them from environment variables.

        Raises:
            UsageError: one of them makes no sense.
        """
        made = cls(
            endpoint_url=environ.get(ENDPOINT, "").rstrip("/"),
            sse=environ.get(SSE, ""),
            sse_key=environ.get(SSE_KEY, ""),
            owner=environ.get(OWNER, ""),
            requester_pays=_flag(environ, REQUESTER_PAYS),
            unfenced=_flag(environ, UNFENCED),
        )
        made.check()
        return made

    @classmethod
    def chosen(cls, asked: object, environ: Mapping[str, str]) -> "Options":
        """Take the options ``s3_…`` of a run or of a command line; what they leave out is read from environment variables.

        Raises:
            UsageError: one of them makes no sense.
        """
        given = {name: getattr(asked, f"s3_{option}", None) for name, option in _NAMES.items()}
        path = getattr(asked, "s3_sse_key_file", None)
        if path:
            given |= {SSE_KEY: read_key_file(path), SSE: given[SSE] or CUSTOMER}
        return cls.of({**environ, **{name: "1" if value is True else value for name, value in given.items() if value}})

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            UsageError: that is so; the message never holds the key.
        """
        if self.endpoint_url and not re.match(r"https?://[^/\s]", self.endpoint_url):
            raise UsageError(f"{self.endpoint_url!r} is no endpoint of an S3 server: write http://host:port or https://host")
        if self.sse not in {"", AES, KMS, CUSTOMER} and not self.sse.startswith(f"{KMS}:"):
            raise UsageError(f"there is no encryption {self.sse!r}: write {AES}, {KMS}, {KMS}:KEY-ID, or {CUSTOMER}")
        if bool(self.sse_key) != (self.sse == CUSTOMER):
            way = f"{SSE_KEY} must hold its key, 32 bytes as base64" if self.sse_key == "" else f"set {SSE}={CUSTOMER} to use {SSE_KEY}"
            raise UsageError(f"a key of your own goes with the encryption {CUSTOMER!r}, and only with it: {way}")
        if self.sse_key:
            self.key()
        if self.owner and not re.fullmatch(r"\d{12}", self.owner):
            raise UsageError(f"{self.owner!r} is no account of AWS: write its 12 digits")

    def key(self) -> bytes:
        """Give the key of the encryption 'customer'.

        Raises:
            UsageError: it is none.
        """
        try:
            key = base64.b64decode(self.sse_key, validate=True)
        except ValueError:  # also what is no ASCII
            key = b""
        if len(key) != _KEY_BYTES:
            raise UsageError(f"{SSE_KEY} must hold 32 bytes as base64, as 'openssl rand -base64 32' prints them")
        return key

    def environment(self) -> dict[str, str]:
        """Write them as environment variables, for workers and other processes."""
        flags = {REQUESTER_PAYS: self.requester_pays, UNFENCED: self.unfenced}
        texts = {ENDPOINT: self.endpoint_url, SSE: self.sse, SSE_KEY: self.sse_key, OWNER: self.owner}
        return {name: text for name, text in texts.items() if text} | {name: "1" for name, flag in flags.items() if flag}


def read_key_file(path: str) -> str:
    """Read the key of the encryption 'customer' from a file: 32 bytes, or their base64; give the base64.

    Raises:
        UsageError: it can't be read, or is no such key.
    """
    try:
        with open(os.path.expanduser(path), "rb") as stream:
            data = stream.read(1024)
    except OSError as error:
        raise UsageError(f"the key in {path} can't be read: {error.strerror}") from error
    text = base64.b64encode(data).decode() if len(data) == _KEY_BYTES else data.decode("ascii", "replace").strip()
    Options(sse=CUSTOMER, sse_key=text).check()
    return text


def _flag(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name, "").lower()
    if text not in {"", "0", "1", "false", "true"}:
        raise UsageError(f"{name}={text!r} makes no sense: write 1 or 0")
    return text in {"1", "true"}
