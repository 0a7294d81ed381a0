"""How a model writes: the numpy engine, filters, streams of steps. Needs no torch."""
