"""Settings: their models, and how they are loaded."""

from service.settings.loader import load
from service.settings.models import (
    AcceptanceSettings,
    ClientSettings,
    HttpSettings,
    LogSettings,
    RuntimeSettings,
    Settings,
    SourceSettings,
    StoreSettings,
    TickerSettings,
    TracingSettings,
    WebhookSettings,
)

__all__ = [
    "AcceptanceSettings",
    "ClientSettings",
    "HttpSettings",
    "LogSettings",
    "RuntimeSettings",
    "Settings",
    "SourceSettings",
    "StoreSettings",
    "TickerSettings",
    "TracingSettings",
    "WebhookSettings",
    "load",
]
