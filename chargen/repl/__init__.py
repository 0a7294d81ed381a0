"""The interactive session: write with a model, and watch its memory while it writes."""
