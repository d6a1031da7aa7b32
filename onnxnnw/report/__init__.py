"""Trials become tables, figures and one page: read a folder of results, count, render."""
