"""What a model is: its configuration, its cells, its file, and where its run lies. No torch."""
