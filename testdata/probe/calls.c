// Makes system calls and prints what becomes of each: `MODE NAME RESULT` a line, where RESULT is
// `ok` or the name of the error. Arguments are such that a call that is let through does no harm.
// Needs nothing but the kernel: compiled with `gcc -static`.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static long call64(long number, long a, long b, long c, long d, long e) {
    long result = syscall(number, a, b, c, d, e);
    return result < 0 ? -errno : result;
}

#ifdef __x86_64__
// 32-bit calls from a 64-bit program: pointers must lie in the low 4 GiB.
static long call32(long number, long a, long b, long c, long d, long e) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result)
                     : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory", "r8", "r9", "r10", "r11");
    return (int)result;
}

static long call_x32(long number, long a, long b, long c, long d, long e) {
    return call64(number | 0x40000000, a, b, c, d, e);
}
#endif

typedef long (*caller)(long, long, long, long, long, long);

static void show(const char *mode, const char *name, long result) {
    const char *text = result >= 0 ? "ok" : strerrorname_np((int)-result);
    printf("%s %s %s\n", mode, name, text ? text : "?");
    fflush(stdout);
}

struct probe {
    const char *name;
    long number, a, b, c, d, e;
};

static void all(const char *mode, caller call, const struct probe *probes) {
    for (; probes->name; probes++)
        show(mode, probes->name, call(probes->number, probes->a, probes->b, probes->c, probes->d, probes->e));
}

int main(void) {
    // In the low 4 GiB, for all modes alike.
    char *low = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    char *path = strcpy(low + 2048, "/nowhere"), *name = strcpy(low + 2100, "x"), *root = strcpy(low + 2110, "/");
    char *tmpfs = strcpy(low + 2120, "tmpfs"), *user = strcpy(low + 2130, "user");
    long z = (long)low, p = (long)path, n = (long)name, r = (long)root, t = (long)tmpfs, u = (long)user;
#define NEW_CALLS \
    {"pidfd_getfd", 438, -1, 0, 0}, {"open_tree", 428, -100, r, 0}, {"move_mount", 429, -1, n, -1, n}, \
    {"fsopen", 430, t, 0}, {"fsconfig", 431, -1, 0}, {"fsmount", 432, -1, 0}, {"fspick", 433, -100, r, 0}, \
    {"mount_setattr", 442, -1, n, 0, z, 32}, {"io_uring_setup", 425, 1, z}, {"io_uring_enter", 426, -1, 0}, \
    {"io_uring_register", 427, -1, 0}, {"clone3", 435, z, 64}, {"quotactl_fd", 443, -1, 0}, \
    {"process_madvise", 440, -1, 0}, {"set_mempolicy_home_node", 450, 0, 0}, \
    {"landlock_create_ruleset", 444, 0, 0, 1}, {"memfd_secret", 447, 0xffff}, {"lsm_list_modules", 461, z, z, 0}, \
    {"open_tree_attr", 467, -1, n, 0, z, 32}, {"from_the_future", 900, 0}
    const struct probe native[] = {
        {"unshare(user)", 272, 0x10000000}, {"unshare(mount)", 272, 0x20000}, {"unshare(net)", 272, 0x40000000},
        {"setns", 308, -1, 0}, {"clone(user)", 56, 0x10000000 | 17}, {"mount", 165, n, p, t, 0}, {"umount2", 166, p, 0},
        {"pivot_root", 155, r, r}, {"chroot", 161, r}, {"bpf", 321, 0, z, 64}, {"perf_event_open", 298, z, 0, -1, -1, 0},
        {"userfaultfd", 323, 0}, {"keyctl", 250, 0, -3, 0}, {"add_key", 248, u, n, n, 1, -3},
        {"request_key", 249, u, n, 0, -3}, {"kexec_load", 246, 0, 0, 0, 0}, {"kexec_file_load", 320, -1, -1, 0, 0},
        {"init_module", 175, z, 0, n}, {"finit_module", 313, -1, n, 0}, {"delete_module", 176, n, 0},
        {"open_by_handle_at", 304, -1, z, 0}, {"name_to_handle_at", 303, -100, r, z, z + 128, 0},
        {"process_vm_readv", 310, getpid(), z, 0, z, 0}, {"kcmp", 312, 1, 1, 0, 0, 0},
        {"personality(no_random)", 135, 0x40000}, {"personality(old_number)", 135, 0x20000}, {"personality(back)", 135, 0},
        {"swapon", 167, p, 0}, {"swapoff", 168, p}, {"reboot", 169, 0, 0, 0, 0}, {"settimeofday", 164, 0, z},
        {"clock_settime", 227, 99, z}, {"acct", 163, p}, {"quotactl", 179, 0, 0, 0, 0}, {"syslog", 103, 3, z, 10},
        {"iopl", 172, 3}, {"ioperm", 173, 0, 1, 1}, {"lookup_dcookie", 212, 0, z, 1}, {"fanotify_init", 300, 0, 0},
        {"sethostname", 170, n, 1}, {"setdomainname", 171, n, 1}, {"vhangup", 153}, {"nfsservctl", 180}, {"uselib", 134, p},
        {"ustat", 136, 0, z}, {"sysfs", 139, 3}, {"mbind", 237, 0}, {"set_mempolicy", 238, 0}, {"get_mempolicy", 239, 0},
        {"migrate_pages", 256, 0}, {"move_pages", 279, 0}, {"statmount", 457, z, z, 1, 0}, {"seccomp(actions)", 317, 2, 0, z},
        {"modify_ldt", 154, 0, z, 0}, {"create_module", 174, 0}, {"_sysctl", 156, 0}, {"vserver", 236, 0},
        {"socket(AF_ALG)", 41, 38, SOCK_SEQPACKET, 0}, {"socket(AF_VSOCK)", 41, 40, SOCK_STREAM, 0},
        {"socket(AF_ALG_high)", 41, 0x100000026, SOCK_SEQPACKET, 0}, {"socket(AF_INET)", 41, AF_INET, SOCK_STREAM, 0},
        {"socket(AF_NETLINK)", 41, AF_NETLINK, SOCK_RAW, 0}, {"socket(raw)", 41, AF_INET, SOCK_RAW, 1},
        {"socket(AF_PACKET)", 41, AF_PACKET, SOCK_RAW, 0}, NEW_CALLS, {0}};
    all("native", call64, native);
    // The terminal of the caller, if there were one: nothing is pushed into it.
    char byte = 'x', paste = 3;
    for (int descriptor = 0; descriptor < 3; descriptor++) {
        char label[32];
        sprintf(label, "TIOCSTI(%d)", descriptor);
        show("native", label, ioctl(descriptor, TIOCSTI, &byte) < 0 ? -errno : 0);
        sprintf(label, "TIOCLINUX(%d)", descriptor);
        show("native", label, ioctl(descriptor, TIOCLINUX, &paste) < 0 ? -errno : 0);
    }
#ifdef __x86_64__
    uint32_t *words = (uint32_t *)(low + 1024);
    const struct probe x86[] = {
        {"unshare(user)", 310, 0x10000000}, {"setns", 346, -1, 0}, {"clone(user)", 120, 0x10000000 | 17}, {"mount", 21, n, p, t, 0},
        {"umount", 22, p}, {"umount2", 52, p, 0}, {"pivot_root", 217, r, r}, {"chroot", 61, r}, {"bpf", 357, 0, z, 64},
        {"perf_event_open", 336, z, 0, -1, -1, 0}, {"userfaultfd", 374, 0}, {"keyctl", 288, 0, -3, 0}, {"add_key", 286, u, n, n, 1, -3},
        {"request_key", 287, u, n, 0, -3}, {"kexec_load", 283, 0, 0, 0, 0}, {"init_module", 128, z, 0, n}, {"open_by_handle_at", 342, -1, z, 0},
        {"swapon", 87, p, 0}, {"reboot", 88, 0, 0, 0, 0}, {"stime", 25, 0}, {"clock_settime64", 404, 99, z}, {"syslog", 103, 3, z, 10},
        {"iopl", 110, 3}, {"ioperm", 101, 0, 1, 1}, {"vm86", 166, 0}, {"vm86old", 113, 0}, {"modify_ldt", 123, 0, z, 0}, {"ptrace", 26, 99, 0, 0, 0},
        {"socket(AF_ALG)", 359, 38, SOCK_SEQPACKET, 0}, {"socket(AF_VSOCK)", 359, 40, SOCK_STREAM, 0}, {"socket(AF_INET)", 359, AF_INET, SOCK_STREAM, 0},
        NEW_CALLS, {0}};
    all("x86", call32, x86);
    const int families[] = {38, 40, AF_INET, AF_UNIX, AF_NETLINK, AF_PACKET};
    const char *names[] = {"AF_ALG", "AF_VSOCK", "AF_INET", "AF_UNIX", "AF_NETLINK", "AF_PACKET"};
    for (int at = 0; at < 6; at++) {
        char label[48];
        words[0] = families[at], words[1] = families[at] == AF_NETLINK || families[at] == AF_PACKET ? SOCK_RAW : SOCK_STREAM, words[2] = 0;
        sprintf(label, "socketcall(%s)", names[at]);
        show("x86", label, call32(102, 1, (long)words, 0, 0, 0));
    }
    words[0] = AF_INET, words[1] = SOCK_RAW, words[2] = 1;
    show("x86", "socketcall(raw)", call32(102, 1, (long)words, 0, 0, 0));
    // A socket that works: its address can be asked for by the same way.
    words[0] = AF_INET, words[1] = SOCK_DGRAM, words[2] = 0;
    long socket = call32(102, 1, (long)words, 0, 0, 0);
    words[0] = socket, words[1] = (uint32_t)(z + 512), words[2] = (uint32_t)(z + 1000);
    *(uint32_t *)(low + 1000) = 128;
    show("x86", "socketcall(getsockname)", call32(102, 6, (long)words, 0, 0, 0));
    show("x86", "socketcall(nowhere)", call32(102, 1, 16, 0, 0, 0));
    const struct probe x32[] = {
        {"read", 0, -1, z, 0}, {"mount", 165, n, p, t, 0}, {"unshare(user)", 272, 0x10000000}, {"ptrace", 521, 99, 0, 0, 0},
        {"keyctl", 250, 0, -3, 0}, {"bpf", 321, 0, z, 64}, {"socket(AF_VSOCK)", 41, 40, SOCK_STREAM, 0}, {"clone3", 435, z, 64}, {0}};
    all("x32", call_x32, x32);
#endif
    while (waitpid(-1, 0, WNOHANG) > 0) {}
    return 0;
}
