"""Greets whoever is named in the environment."""
