"""From raw corpora to a report in one command: stages, what is up to date, the plan, and running it. Standard library only."""
