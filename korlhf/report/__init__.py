"""One HTML page of a whole run: gather.py reads, checks.py and answers.py judge and merge, page.py draws."""
