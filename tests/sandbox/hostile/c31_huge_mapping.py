# attack: reserve a terabyte of address space
# task: known
# expect: verdict=fail
# host must observe: refused
import mmap

x = mmap.mmap(-1, 1 << 40, flags=mmap.MAP_PRIVATE | 0x4000)
f = lambda x: x + 1
