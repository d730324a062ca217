"""What a batch's grades look like: tables, pages."""
