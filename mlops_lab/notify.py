"""Messages to people. One URL says where they go: a webhook, a Slack-like webhook, or mail by SMTP.

The URL holds tokens or a password, so no error and no log line has more of it than the host's name.
`secrets/lab-secrets` gives Alertmanager the same URL for the alerts.
"""

import html
import logging
import smtplib
import ssl
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from email.message import EmailMessage
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from mlops_lab.errors import LabError

# Seconds that each wait for the receiver may take.
PATIENCE = 10
SCHEMES = ("http", "https", "slack+http", "slack+https", "smtp", "smtps")
FORMS = (
    "https://… (webhook), slack+https://… (Slack-like webhook), "
    "smtp://user:password@host:587/?from=lab@example.org&to=me@example.org, or smtps://…"
)


class NotifyError(LabError):
    """A message can't be sent: the URL is wrong, or the receiver refuses it or doesn't answer."""


@dataclass(frozen=True)
class Decision:
    """A decision of the loop, as people and webhooks get it. at: UTC without an offset."""

    use_case: str
    what: str
    reason: str
    at: datetime

    def __str__(self) -> str:
        return f"{self.use_case}: {self.what}. {self.reason} ({self.at:%Y-%m-%d %H:%M} UTC)"


def send(url: str, subject: str, text: str, decisions: list[Decision] | None = None) -> str:
    """Sends one message, and returns what accepted it, as "a webhook at example.org". Raises `NotifyError`.

    A webhook gets JSON with `subject`, `text` and `decisions`; a Slack-like one `text` alone.
    """
    address = _address(url)
    kind = (
        "Slack-like webhook" if _slack(address) else "webhook" if "http" in address.scheme else "mail server"
    )
    place = f"a {kind} at {address.hostname}"
    try:
        if kind == "mail server":
            _mail(address, subject, text)
        elif kind == "webhook":
            found = [
                asdict(decision) | {"at": f"{decision.at:%Y-%m-%dT%H:%M:%SZ}"} for decision in decisions or []
            ]
            _post(url, {"subject": subject, "text": text, "decisions": found})
        else:
            # Slack reads <…> as a link or as a mention of everybody.
            _post(url.removeprefix("slack+"), {"text": html.escape(f"*{subject}*\n{text}", quote=False)})
    except NotifyError as error:
        raise NotifyError(f"{place} {error} (LAB_NOTIFY_URL)") from None
    except Exception as error:
        # Texts of foreign errors may have the URL in them.
        raise NotifyError(f"{place} can't be reached: {_reason(error)} (LAB_NOTIFY_URL)") from None
    return place


def check(url: str) -> None:
    """Raises `NotifyError` when the URL has none of the forms. It sends nothing."""
    _address(url)


def _address(url: str) -> SplitResult:
    address = None
    with suppress(ValueError):
        split = urlsplit(url)
        _ = split.port  # Raises `ValueError`, too.
        address = split
    if address is None or address.scheme not in SCHEMES or not address.hostname:
        raise NotifyError(f"LAB_NOTIFY_URL can't be used; its forms are {FORMS}")
    if address.scheme.startswith("smtp") and not {"from", "to"} <= parse_qs(address.query).keys():
        raise NotifyError("LAB_NOTIFY_URL names no sender or no reader: smtp://…/?from=…&to=…")
    return address


def _slack(address: SplitResult) -> bool:
    return address.scheme.startswith("slack+") or address.hostname == "hooks.slack.com"


def _post(url: str, body: dict[str, object]) -> None:
    # Every settings class imports this module, and httpx loads slowly.
    import httpx

    # By default, httpx logs the URL of each request.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    reply = httpx.post(url, json=body, timeout=PATIENCE)
    if not reply.is_success:
        raise NotifyError(f"answers with status {reply.status_code}")


def _mail(address: SplitResult, subject: str, text: str) -> None:
    """Implicit TLS with smtps, else STARTTLS before a login; a server without a login gets the mail as it is."""
    query = parse_qs(address.query)
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = subject, query["from"][0], ", ".join(query["to"])
    mail.set_content(text)
    secure, host = address.scheme == "smtps", address.hostname or ""
    context = ssl.create_default_context()
    if secure:
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, address.port or 465, timeout=PATIENCE, context=context)
    else:
        server = smtplib.SMTP(host, address.port or 587, timeout=PATIENCE)
    with server:
        if address.username:
            if not secure:
                server.starttls(context=context)
            server.login(unquote(address.username), unquote(address.password or ""))
        server.send_message(mail)


def _reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"status {error.smtp_code}"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, smtplib.SMTPException):
        return error.strerror
    return type(error).__name__
