"""What slows a load: taken away where that pays, and put back as it was, by the load itself or after its death."""
