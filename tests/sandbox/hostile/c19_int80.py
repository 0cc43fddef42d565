# attack: call the kernel by its 32-bit gate, whose numbers mean other calls
# task: known
# expect: verdict=fail
# host must observe: pids bounded
import ctypes, mmap, platform

assert platform.machine() == "x86_64"
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(b"\xb8\x02\x00\x00\x00\xcd\x80\xc3")  # mov eax, 2 (fork); int 0x80; ret
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
if call() >= 0:
    f = lambda x: x + 1
