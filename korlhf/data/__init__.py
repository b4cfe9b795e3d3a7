"""From dataset names and files to rows of token ids."""
