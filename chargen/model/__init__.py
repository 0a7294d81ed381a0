"""A model without torch: its configuration, its cells, its file and the folder of its run."""
