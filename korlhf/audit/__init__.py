"""What in a data set would poison training: found, counted, shown with its place, and on request put right."""
