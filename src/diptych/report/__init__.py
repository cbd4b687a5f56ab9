"""The report: results files and example photos in one HTML page that needs nothing beside it.

results/*.json ──> sources ──> charts, sheets ───────┐
photos ──codec, JPEG, AVIF, task network──> examples ─┴──> page ──> report.html
"""
