"""Names, phrases and colours that all pages and pictures share.

May import `config` alone. Results, pages and figures import it.
"""
