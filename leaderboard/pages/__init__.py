"""The site's pages, one file each: from the board to what a template shows. Text and numbers only, no markup."""
