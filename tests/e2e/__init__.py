"""Real clients and real servers on both sides of the running proxy."""
