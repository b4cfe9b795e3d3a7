"""What the programs of eval/ compute and say: figures, tables, warnings."""
