"""Every refusal a person can meet: one exception, one table of codes, one JSON shape."""

from __future__ import annotations

# code → (HTTP status, what to do about it). The one place where statuses and hints live.
CODES: dict[str, tuple[int, str]] = {
    "bad_request": (400, "See /docs for what this address takes."),
    "bad_url": (400, "Give one absolute http:// or https:// address of a photo."),
    "blocked_url": (400, "Only public addresses on ports 80 and 443 are fetched, unless the operator listed the host."),
    "no_file": (400, "Send multipart/form-data with one or more files in the field 'file'."),
    "unauthorized": (401, "Send the key as 'Authorization: Bearer KEY', or as the password when the browser asks."),
    "cross_site": (403, "Send it from the service's own page, or from a program that is no browser."),
    "not_found": (404, "The page at / shows what there is."),
    "method_not_allowed": (405, "The Allow header lists the methods of this address."),
    "slow_body": (408, "Send the photo again over a faster connection, or a smaller one."),
    "too_large": (413, "Send a smaller file: scale the photo down first."),
    "too_many_pixels": (413, "Scale the photo down first."),
    "not_an_image": (415, "Send a photo as JPEG, PNG, WebP, GIF, BMP or AVIF."),
    "broken_image": (422, "Open the photo in an image editor and save it again as JPEG."),
    "large_head": (431, "Send fewer or shorter headers, or a shorter address."),
    "internal": (500, "Try again; if it stays, tell the operator."),
    "fetch_failed": (502, "Check the address in a browser, or download the photo and upload it."),
    "busy": (503, "Wait as long as Retry-After says, then send it again."),
    "starting": (503, "Wait a moment, then send it again."),
    "draining": (503, "Send it again: another copy of the service, or this one after its restart, will answer."),
    "url_route_off": (404, "Download the photo and upload it instead."),
    "feedback_off": (404, "The operator can set --feedback-dir."),
    "not_kept": (507, "Tell the operator; nothing was kept of this photo."),
    "fetch_slow": (504, "Try again, or download the photo and upload it."),
}


class Refusal(Exception):
    """Something was asked for that will not be done; `message` is one sentence for a person.

    `code` is a key of CODES, which gives `status` and, unless told otherwise, `hint`. `detail` is for the log alone.
    `retry_after_s` becomes a Retry-After header.
    """

    def __init__(
        self, code: str, message: str, *, hint: str | None = None, detail: str = "", retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status, default_hint = CODES[code]
        self.hint = default_hint if hint is None else hint
        self.detail = detail
        self.retry_after_s = retry_after_s

    def as_json(self) -> dict[str, dict[str, str]]:
        """The one error shape: {"error": {"code", "message", "hint"}}."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}

    def as_text(self) -> str:
        """Message and hint, for those whose errors are one text."""
        return f"{self.message} {self.hint}"


class OriginRefusal(Refusal):
    """A site answered a fetch with another status than 200.

    `origin_status` and its Retry-After header, as it stands, are for whoever tries again; the service tells neither.
    """

    def __init__(self, origin_status: int, origin_retry_after: str) -> None:
        super().__init__("fetch_failed", "The site did not answer with a photo.", detail="not status 200")
        self.origin_status = origin_status
        self.origin_retry_after = origin_retry_after


class SettingError(Exception):
    """A flag or variable has a value that cannot be used; the message names it and says what it wants. Exit code 2."""


class BundleError(Exception):
    """A bundle failed one of its checks; the message says which, in one sentence. Exit code 3."""
