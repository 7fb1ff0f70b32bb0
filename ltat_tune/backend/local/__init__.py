"""What a study's own Ray on this machine needs: a private folder, and somebody who watches it."""
