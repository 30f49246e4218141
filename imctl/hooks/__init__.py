"""goim's customisation points: what a hook is asked, how it is loaded and called, and those that come along."""
