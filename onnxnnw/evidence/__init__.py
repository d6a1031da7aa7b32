"""A verdict as a file that others can use: scanners, test reports, statements, bills of material, pages."""
