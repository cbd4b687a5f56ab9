"""The report: results files and example photos in one HTML page that needs nothing beside it.

results/*.json ──> results ──> curves, sheets ──┐
photos ──codec, JPEG, AVIF, machine──> examples ─┴──> page ──> report.html
"""
