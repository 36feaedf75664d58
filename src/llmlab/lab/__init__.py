"""What every chapter needs to train and to compare, whatever its model is."""
