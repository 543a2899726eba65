#define _GNU_SOURCE
#include "CPlatform.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

int tm_set_parent_death_signal(int signal) {
    return prctl(PR_SET_PDEATHSIG, (unsigned long)signal, 0UL, 0UL, 0UL);
}

int tm_pidfd_open(int pid) {
    // By number: glibc has the function since 2.36 only, Linux the call since 5.3.
    return (int)syscall(SYS_pidfd_open, pid, 0U);
}

int tm_signalfd(const void *set) {
    return signalfd(-1, (const sigset_t *)set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int tm_signalfd_read(int descriptor) {
    struct signalfd_siginfo info;
    ssize_t length;
    do {
        length = read(descriptor, &info, sizeof info);
    } while (length < 0 && errno == EINTR);
    if (length == (ssize_t)sizeof info) return (int)info.ssi_signo;
    return length < 0 && errno == EAGAIN ? 0 : -1;
}

int tm_pipe(int ends[2]) {
    return pipe2(ends, O_CLOEXEC);
}

int tm_spawn_close_from(void *actions, int first) {
    return posix_spawn_file_actions_addclosefrom_np((posix_spawn_file_actions_t *)actions, first);
}

int tm_name_thread(const char *name) {
    return prctl(PR_SET_NAME, name, 0UL, 0UL, 0UL);
}

const char *tm_commit(void) {
    return TALLYMILL_COMMIT;
}
