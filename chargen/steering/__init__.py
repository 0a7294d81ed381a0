"""What a person asks of a text: its form, its words, its end. Guides bend the draw to it."""
