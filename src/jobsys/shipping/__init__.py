"""What travels: the own code that a script needs, the environment it runs in, and what of jobsys a worker needs. Sends nothing."""
