"""A use case drafted from a person's own file: the file is read, its columns are looked at, the use case is written."""
