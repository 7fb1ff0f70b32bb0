"""Tests of networks that other people wrote."""
