"""Faults that can be injected into a running lab, and lifted again."""
