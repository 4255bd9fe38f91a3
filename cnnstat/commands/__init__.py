"""The commands, a file each with the function that typer reads; options.py has what several share."""
