"""The command `digits`: it imports every other package, when a subcommand needs it, and none imports it."""
