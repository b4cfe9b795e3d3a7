"""What a model that is given away needs: its licence and card, the check of its answers, the hub."""
