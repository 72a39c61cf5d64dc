"""Bytes by key: one file a back end, and import and export by URL."""
