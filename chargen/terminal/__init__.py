"""How it looks: plain values and strings in, renderables and safe text out."""
