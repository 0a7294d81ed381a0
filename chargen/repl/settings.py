"""What `/set` can change: one table of names, ranges and what they are for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from chargen.errors import UsageError, unknown_name
from chargen.inference.filters import SETTINGS, SampleConfig
from chargen.terminal.palette import BACKGROUNDS
from chargen.text.tokenizer import UNKNOWN_POLICIES

FASTEST = 0.0
"""The speed `max`: no pace at all."""
_SLOWEST, _FAST = 1.0, 100_000.0
_LEAST_COPY = 16


@dataclass(kw_only=True)
class Settings:
    """All of them, at their defaults."""

    sample: SampleConfig = field(default_factory=lambda: SampleConfig(length=400))
    speed: float = 120.0
    """Characters a second; `FASTEST` knows no pace."""
    max_copy: int = 0
    """Characters that may be copied word for word from the training text; 0: any number."""
    copies: bool = True
    """Whether copies are looked for and underlined."""
    whitespace: bool = False
    """Whether spaces and line ends are shown as marks."""
    background: str = "auto"
    unknown: str = "nearest"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A row of `TABLE`."""

    help: str
    read: Callable[[Settings], object]
    """The value as it is shown."""
    write: Callable[[Settings, str], None]
    choices: tuple[str, ...] = ()
    """Words that can be completed."""


def set_value(settings: Settings, name: str, text: str) -> None:
    """Change one setting, as a person spelled it.

    Raises:
        UsageError: no such setting, or not in its range; nothing is changed.
    """
    find(name).write(settings, text)


def find(name: str) -> Setting:
    """The row of a setting; `top_p` will do for `top-p`.

    Raises:
        UsageError: there is none.
    """
    row = TABLE.get(name.replace("_", "-").lower())
    if row is None:
        raise UsageError(unknown_name("setting", name, TABLE))
    return row


def change_sample(sample: SampleConfig, **changes: Any) -> SampleConfig:
    """The same with some fields changed, checked.

    Raises:
        UsageError: out of range.
    """
    return SampleConfig(**{**sample.__dict__, **changes})


def faster(settings: Settings, factor: float) -> None:
    """Change the pace; `max` is left for a pace, and never reached by it."""
    speed = settings.speed if settings.speed != FASTEST else _FAST / 100
    settings.speed = min(_FAST, max(_SLOWEST, speed * factor))


def warmer(settings: Settings, step: float) -> None:
    """Change the temperature by a step, within its range."""
    value = round(max(0.0, settings.sample.temperature + step), 2)
    if SETTINGS["temperature"].problem("temperature", value) is None:
        settings.sample = change_sample(settings.sample, temperature=value)


def _number(name: str, text: str) -> float:
    row = SETTINGS[name]
    try:
        return int(text) if row.whole else float(text)
    except ValueError:
        kind = "a whole number" if row.whole else "a number"
        label = name.replace("_", "-")
        raise UsageError(f"{label} {text}: must be {kind}, {row.range()}") from None


def _sample_row(name: str) -> Setting:
    def write(settings: Settings, text: str) -> None:
        settings.sample = change_sample(settings.sample, **{name: _number(name, text)})

    return Setting(
        help=f"{SETTINGS[name].help} ({SETTINGS[name].range()})",
        read=lambda settings: f"{getattr(settings.sample, name):g}",
        write=write,
    )


def _set_stop(settings: Settings, text: str) -> None:
    r"""Texts between bars; \n is a line end."""
    stops = tuple(one.replace("\\n", "\n") for one in text.split("|") if one and text != "off")
    settings.sample = change_sample(settings.sample, stop=stops)


def _set_speed(settings: Settings, text: str) -> None:
    try:
        speed = FASTEST if text == "max" else float(text)
    except ValueError:
        speed = -1.0
    if text != "max" and not _SLOWEST <= speed <= _FAST:
        raise UsageError(f"speed {text}: must be from {_SLOWEST:g} to {_FAST:,.0f}, or max")
    settings.speed = speed


def _set_max_copy(settings: Settings, text: str) -> None:
    value = 0 if text == "off" else int(text) if text.isdecimal() else -1
    if value and value < _LEAST_COPY:
        raise UsageError(f"max-copy {text}: must be at least {_LEAST_COPY}, or off")
    settings.max_copy = value


def _switch(name: str, help: str) -> Setting:
    def write(settings: Settings, text: str) -> None:
        if text not in ("on", "off"):
            raise UsageError(f"{name} {text}: must be on or off")
        setattr(settings, name, text == "on")

    return Setting(
        help=help,
        read=lambda settings: "on" if getattr(settings, name) else "off",
        write=write,
        choices=("on", "off"),
    )


def _choice(name: str, choices: tuple[str, ...], help: str) -> Setting:
    def write(settings: Settings, text: str) -> None:
        if text not in choices:
            raise UsageError(f"{name} {text}: must be one of {', '.join(choices)}")
        setattr(settings, name, text)

    return Setting(
        help=f"{help} ({', '.join(choices)})",
        read=lambda settings: getattr(settings, name),
        write=write,
        choices=choices,
    )


TABLE: dict[str, Setting] = {
    **{name.replace("_", "-"): _sample_row(name) for name in SETTINGS},
    "stop": Setting(
        help=r"Texts that end the writing, divided by |; \n is a line end; off",
        read=lambda settings: "|".join(settings.sample.stop).replace("\n", "\\n") or "off",
        write=_set_stop,
        choices=("off",),
    ),
    "speed": Setting(
        help="Characters a second on the screen, or max",
        read=lambda settings: f"{settings.speed:g}" if settings.speed != FASTEST else "max",
        write=_set_speed,
        choices=("max", "30", "120", "500"),
    ),
    "max-copy": Setting(
        help="Characters that may be copied from the training text before it is written "
        "differently, or off",
        read=lambda settings: settings.max_copy or "off",
        write=_set_max_copy,
        choices=("off", "40"),
    ),
    "copies": _switch("copies", "Underline what is copied from the training text (on, off)"),
    "whitespace": _switch("whitespace", "Show spaces as · and line ends as ⏎ (on, off)"),
    "background": _choice("background", BACKGROUNDS, "Colours are for this background"),
    "unknown": _choice("unknown", UNKNOWN_POLICIES, "What becomes of characters never seen"),
}
