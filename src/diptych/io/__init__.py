"""Pictures as users expect them, files that appear whole, recipes, progress."""
