"""A study folder as one page that needs no network: facts -> tables and charts -> HTML."""
