"""What is inside: recorded steps as plain arrays. numpy only."""
