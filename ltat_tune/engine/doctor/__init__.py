"""Checks a study as a whole, and makes again what is damaged: `ltat-tune doctor STUDY`."""
