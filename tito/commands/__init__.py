"""The commands, in groups. `tito.cli` puts them together; each imports what it runs, when it runs."""
