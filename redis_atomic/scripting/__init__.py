"""What a script is. Pure: knows neither Django nor Redis."""
