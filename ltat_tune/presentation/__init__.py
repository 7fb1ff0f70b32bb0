"""Names, phrases and colours that every page and picture shares.

May import `config` alone. Results, pages and figures import it.
"""
