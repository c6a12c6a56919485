"""What running programs need: a progress line, quiet libraries, child processes that end with their parent."""
