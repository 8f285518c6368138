"""The server: how it is spoken to, what its catalog says, what this role may do, which locks are taken."""
