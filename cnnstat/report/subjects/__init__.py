"""Subjects: one file for each thing that is reported, which makes its document."""
