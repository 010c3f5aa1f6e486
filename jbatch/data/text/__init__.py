"""Texts: what a token is, and where texts are."""
