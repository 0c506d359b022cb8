"""Where bytes live: the content store and the home folder."""
