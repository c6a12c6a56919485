"""What others have, made into records."""
