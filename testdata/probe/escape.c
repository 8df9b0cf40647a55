// Tries to get out of where it is run; prints what came of it. Needs nothing but the kernel.
//   escape chroot           leaves by a changed root that lies below the current directory
//   escape handle           leaves by a directory that was open before the root changed
//   escape socket NAME      connects to an abstract socket
//   escape signal PID       signals a process
//   escape keys             tells the number of its session keyring
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static void said(int failed) {
    puts(failed ? strerrorname_np(errno) : "ok");
}

static void climb(void) {
    for (int i = 0; i < 200; i++)
        if (chdir("..")) break;
}

static void compare(const struct stat *before) {
    struct stat now;
    if (stat("/", &now)) puts("no root");
    else puts(now.st_dev == before->st_dev && now.st_ino == before->st_ino ? "inside" : "outside");
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "", *operand = count > 2 ? words[2] : "";
    struct stat before;
    stat("/", &before);
    if (!strcmp(what, "chroot")) {
        mkdir("/tmp/hole", 0755);
        said(chroot("/tmp/hole"));
        climb();
        said(chroot("."));
        compare(&before);
    } else if (!strcmp(what, "handle")) {
        int handle = open("/", O_RDONLY | O_DIRECTORY);
        mkdir("/tmp/hole", 0755);
        said(chroot("/tmp/hole"));
        said(fchdir(handle));
        climb();
        said(chroot("."));
        compare(&before);
    } else if (!strcmp(what, "socket")) {
        int descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        size_t length = strlen(operand);
        memcpy(address.sun_path + 1, operand, length);
        said(connect(descriptor, (struct sockaddr *)&address, offsetof(struct sockaddr_un, sun_path) + 1 + length));
    } else if (!strcmp(what, "signal")) {
        said(kill(atoi(operand), 0));
    } else if (!strcmp(what, "keys")) {
        // KEYCTL_GET_KEYRING_ID of KEY_SPEC_SESSION_KEYRING, which is not made.
        printf("%ld\n", syscall(SYS_keyctl, 0, -3, 0));
    }
    return 0;
}
