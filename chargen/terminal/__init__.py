"""How results look: plain values and strings in, renderables and safe text out."""
