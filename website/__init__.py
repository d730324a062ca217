"""The site: lessons, pages and the API as files that need no server. `python -m website` builds it."""
