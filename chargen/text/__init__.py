"""Text to ids and ids to text: tokenizers, corpora, the token store. No torch, no rich."""
