"""Contracts of the seams, as plain functions: for our own back ends and for other people's."""
