"""What is shown to people on a terminal. Needs rich; loaded only when something is shown."""
