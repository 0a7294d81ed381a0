"""What is inside a model: recorded steps as plain arrays, measures, pictures as numbers."""
