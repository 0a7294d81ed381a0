"""How a model writes: the numpy engine, filters, streams of steps. No torch."""
