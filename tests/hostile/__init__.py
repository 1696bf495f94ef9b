"""Hostile input from clients and origins, against the running product (docs/security.md)."""
