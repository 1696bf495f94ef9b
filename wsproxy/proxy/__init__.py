"""The story: from an accepted connection through the gate to an answer or a tunnel."""
