"""Formats: one file each, which renders any document and names no subject."""
