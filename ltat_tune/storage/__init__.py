"""A study on disk: its folder, its ledger, its trials, and what each training left behind.

May import `search`, `space`, `training` and what stands below. Everything from `backend` on
imports it.
"""
