"""The configuration of one training: parameters, the rules between them, and when each acts.

Imports only the modules in the package's root. Everything else imports it.
"""
