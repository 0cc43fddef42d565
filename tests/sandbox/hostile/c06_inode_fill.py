# attack: create a million empty files
# task: known
# expect: verdict=fail
# host must observe: nothing left, no inodes used
made = 0
try:
    for i in range(10**6):
        with open(f"inode{i}", "w"):
            made += 1
except OSError:
    pass
if made > 1000:
    f = lambda x: x + 1
