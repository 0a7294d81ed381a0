"""How a model learns: torch, and never a print. config.py and events.py import no torch."""
