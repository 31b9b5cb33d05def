"""Stages of a lab: a package of its own, beside neuroloop."""
