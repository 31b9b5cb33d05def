"""Labelled recordings that models are trained and evaluated on."""
