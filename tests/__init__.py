"""The tests. A package, since a dependency installs one of this name, which would hide a mere folder."""
