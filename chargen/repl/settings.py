"""What can `/set` change, and in which range?

`TABLE` has a row for each setting; `Settings` has their values. To add a setting: add a field with
its default to `Settings` (the fields of `SampleConfig` have another table, `SETTINGS` in
inference/filters.py, and are added to this one automatically), add a row to `TABLE`, and add a
value to `test_every_setting_reads_back_what_was_written` in tests/repl/test_commands.py. `/set`,
`/show`, completion and session files take the row from the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from chargen.errors import UsageError, unknown_name
from chargen.inference.filters import SETTINGS, SampleConfig, parse_stop, show_stop
from chargen.inference.remembering import DEFAULT_MEMORY, MEMORY_MODES
from chargen.steering.config import ASKED, FINISHES, Steering, parse
from chargen.terminal.palette import BACKGROUNDS
from chargen.text.tokenizer import UNKNOWN_POLICIES

UNLIMITED_SPEED = 0.0
"""The speed `max`: no waiting at all."""
_MIN_CHARACTERS_PER_SECOND, _MAX_CHARACTERS_PER_SECOND = 1.0, 100_000.0
_SPEED_AFTER_MAX = 1000.0
"""Characters per second from which `+` and `-` start when the speed is `max`."""
_SPEED_RANGE = f"from {_MIN_CHARACTERS_PER_SECOND:g} to {_MAX_CHARACTERS_PER_SECOND:,.0f}, or max"
_MIN_COPY_CHARACTERS = 16
_MAX_COPY_RANGE = f"at least {_MIN_COPY_CHARACTERS}, or off"


@dataclass(kw_only=True)
class Settings:
    """The values of all settings; a new object has the defaults."""

    sample: SampleConfig = field(default_factory=lambda: SampleConfig(length=400))
    """How tokens are drawn: length, temperature, top-k, ..., stop."""
    speed: float = 120.0
    """Characters per second on the screen, or `UNLIMITED_SPEED`."""
    max_copy: int = 0
    """The longest copy from the training text that stays, in characters; 0 is any length."""
    copies: bool = True
    """Whether copies from the training text are searched and underlined."""
    ghost: bool = True
    """Whether the likeliest rest of a word is shown while a person types."""
    whitespace: bool = False
    """Whether spaces and line ends are shown as marks."""
    background: str = "auto"
    """The terminal's background, which decides the colours: a name in `BACKGROUNDS`."""
    memory: str = DEFAULT_MEMORY
    """What counts help to write: a name in `MEMORY_MODES`."""
    unknown: str = "nearest"
    """What happens to characters that the model never saw: a name in `UNKNOWN_POLICIES`."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A row of `TABLE`; its key there is the setting's name, with `-` between words."""

    help: str
    """What the setting does and which values it takes, for `/set`; begins with a capital."""
    read: Callable[[Settings], object]
    """Returns the value as `/set` shows it; `write` must accept its text."""
    write: Callable[[Settings, str], None]
    """Changes the value to what the person typed.

    Raises a `UsageError` for a wrong value, in the form `NAME VALUE: must be ...`, and then
    changes nothing.
    """
    choices: tuple[str, ...] = ()
    """Values that the Tab key offers."""


def set_value(settings: Settings, name: str, text: str) -> None:
    """Changes one setting to what a person typed.

    Raises:
        UsageError: there is no such setting, or the value is wrong; nothing is changed.
    """
    find_setting(name).write(settings, text)


def find_setting(name: str) -> Setting:
    """Returns the row of a setting; `top_p` and `Top-P` mean `top-p`.

    Raises:
        UsageError: there is no such setting.
    """
    row = TABLE.get(setting_name(name))
    if row is None:
        raise UsageError(unknown_name("setting", name, TABLE))
    return row


def setting_name(text: str) -> str:
    """Returns a name as it is spelled in `TABLE`."""
    return text.replace("_", "-").lower()


def change_sample(sample: SampleConfig, **changes: Any) -> SampleConfig:
    """Returns a copy with some fields changed.

    Raises:
        UsageError: a value is out of range.
    """
    return SampleConfig(**{**sample.__dict__, **changes})


def change_speed(settings: Settings, factor: float) -> None:
    """Multiplies the speed by a factor, within its range; `max` becomes a number first."""
    speed = settings.speed if settings.speed != UNLIMITED_SPEED else _SPEED_AFTER_MAX
    settings.speed = min(
        _MAX_CHARACTERS_PER_SECOND, max(_MIN_CHARACTERS_PER_SECOND, speed * factor)
    )


def change_temperature(settings: Settings, step: float) -> None:
    """Adds a step to the temperature, unless that leaves its range."""
    value = round(max(0.0, settings.sample.temperature + step), 2)
    if SETTINGS["temperature"].problem("temperature", value) is None:
        settings.sample = change_sample(settings.sample, temperature=value)


def _parse_number(name: str, text: str) -> float:
    row = SETTINGS[name]
    try:
        return int(text) if row.integer else float(text)
    except ValueError:
        kind = "a whole number" if row.integer else "a number"
        raise UsageError(f"{setting_name(name)} {text}: must be {kind}, {row.range()}") from None


def _sample_row(name: str) -> Setting:
    """Returns the row of a number in `SampleConfig`."""

    def write(settings: Settings, text: str) -> None:
        settings.sample = change_sample(settings.sample, **{name: _parse_number(name, text)})

    return Setting(
        help=f"{SETTINGS[name].help} ({SETTINGS[name].range()})",
        read=lambda settings: str(getattr(settings.sample, name)).removesuffix(".0"),
        write=write,
    )


def _steering_row(name: str) -> Setting:
    """Returns the row of something that is asked of a text; `off` asks nothing."""
    row, nothing = ASKED[name], getattr(Steering(), name)

    def read(settings: Settings) -> str:
        value = getattr(settings.sample, name)
        return "off" if value == nothing else row.show(value)

    def write(settings: Settings, text: str) -> None:
        value = nothing if text == "off" else parse(name, text)
        settings.sample = change_sample(settings.sample, **{name: value})

    choices = FINISHES if name == "finish" else ("on",) if row.metavar is None else ()
    return Setting(
        help=f"{row.help}; off: nothing", read=read, write=write, choices=(*choices, "off")
    )


def _set_stop(settings: Settings, text: str) -> None:
    r"""Sets the texts between bars as stop texts, read by `parse_stop`; `off` sets none."""
    typed = [] if text == "off" else re.findall(r"(?:\\.|[^|])+", text, re.DOTALL)
    stops = tuple(map(parse_stop, typed))
    settings.sample = change_sample(settings.sample, stop=stops)


def _set_speed(settings: Settings, text: str) -> None:
    try:
        speed = UNLIMITED_SPEED if text == "max" else float(text)
    except ValueError:
        speed = -1.0
    in_range = _MIN_CHARACTERS_PER_SECOND <= speed <= _MAX_CHARACTERS_PER_SECOND
    if text != "max" and not in_range:
        raise UsageError(f"speed {text}: must be {_SPEED_RANGE}")
    settings.speed = speed


def _set_max_copy(settings: Settings, text: str) -> None:
    value = 0 if text == "off" else int(text) if text.isdecimal() else -1
    if value and value < _MIN_COPY_CHARACTERS:
        raise UsageError(f"max-copy {text}: must be {_MAX_COPY_RANGE}")
    settings.max_copy = value


def _switch(name: str, help: str) -> Setting:
    """Returns the row of a setting that is on or off; `name` is its field in `Settings`."""

    def write(settings: Settings, text: str) -> None:
        if text not in ("on", "off"):
            raise UsageError(f"{name} {text}: must be on or off")
        setattr(settings, name, text == "on")

    return Setting(
        help=f"{help} (on, off)",
        read=lambda settings: "on" if getattr(settings, name) else "off",
        write=write,
        choices=("on", "off"),
    )


def _choice(name: str, choices: tuple[str, ...], help: str) -> Setting:
    """Returns the row of a setting that is one of some words; `name` is its field in `Settings`."""

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
    # The tree of texts grows by single tokens, so it does not look ahead.
    **{setting_name(name): _sample_row(name) for name in SETTINGS if name != "lookahead"},
    "stop": Setting(
        help=r"Texts that end the writing, with | between them; \n is a line end; off: none",
        read=lambda settings: "|".join(map(show_stop, settings.sample.stop)) or "off",
        write=_set_stop,
        choices=("off",),
    ),
    # The REPL finds copies by itself, and takes them back where they began.
    **{setting_name(name): _steering_row(name) for name in ASKED if name != "max_copy"},
    "speed": Setting(
        help=f"Characters per second on the screen ({_SPEED_RANGE})",
        read=lambda settings: f"{settings.speed:g}" if settings.speed != UNLIMITED_SPEED else "max",
        write=_set_speed,
        choices=("max", "30", "120", "500"),
    ),
    "max-copy": Setting(
        help="Rewrite copies from the training text that are longer than this, in characters "
        f"({_MAX_COPY_RANGE})",
        read=lambda settings: settings.max_copy or "off",
        write=_set_max_copy,
        choices=("off", "40"),
    ),
    "memory": _choice(
        "memory", MEMORY_MODES, "Counts that help to write: none, of the training text, or growing"
    ),
    "copies": _switch("copies", "Find copies from the training text and underline them"),
    "ghost": _switch("ghost", "Show the likeliest rest of a word while you type; → takes it"),
    "whitespace": _switch("whitespace", "Show spaces as · and line ends as ⏎"),
    "background": _choice("background", BACKGROUNDS, "Choose colours for this background"),
    "unknown": _choice("unknown", UNKNOWN_POLICIES, "What to do with unseen characters"),
}
"""The settings by name, in the order of `/set`; `Setting` explains a row."""
