"""What one training is: every parameter, the rules between them, and when each acts.

Imports only the modules in the package's root. Everything else imports it.
"""
