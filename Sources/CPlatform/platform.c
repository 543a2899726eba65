#define _GNU_SOURCE
#include "CPlatform.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
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

int tm_accept(int descriptor) {
    return accept4(descriptor, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

int tm_peer(int descriptor, int *process, unsigned *user) {
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return -1;
    *process = (int)peer.pid;
    *user = (unsigned)peer.uid;
    return 0;
}

_Static_assert(TM_READABLE == EPOLLIN && TM_WRITABLE == EPOLLOUT, "the bits of epoll");
_Static_assert(TM_FAILED == EPOLLERR && TM_HUNG_UP == EPOLLHUP, "the bits of epoll");
_Static_assert(TM_PEER_CLOSED == EPOLLRDHUP && TM_EDGE_TRIGGERED == EPOLLET, "the bits of epoll");

int tm_poller(void) {
    return epoll_create1(EPOLL_CLOEXEC);
}

static int control(int poller, int operation, int descriptor, unsigned events, unsigned long long name) {
    struct epoll_event event = {.events = events, .data.u64 = name};
    return epoll_ctl(poller, operation, descriptor, &event);
}

int tm_poller_add(int poller, int descriptor, unsigned events, unsigned long long name) {
    return control(poller, EPOLL_CTL_ADD, descriptor, events, name);
}

int tm_poller_change(int poller, int descriptor, unsigned events, unsigned long long name) {
    return control(poller, EPOLL_CTL_MOD, descriptor, events, name);
}

int tm_poller_remove(int poller, int descriptor) {
    return control(poller, EPOLL_CTL_DEL, descriptor, 0, 0);
}

static int report(struct tm_event *events, const struct epoll_event *found, int count) {
    for (int i = 0; i < count; i++) {
        events[i].name = found[i].data.u64;
        events[i].events = found[i].events;
    }
    return count;
}

int tm_poller_wait(int poller, struct tm_event *events, int timeout_ms) {
    struct epoll_event found[TM_EVENTS_MAX];
    return report(events, found, epoll_wait(poller, found, TM_EVENTS_MAX, timeout_ms));
}

int tm_poller_wait_ns(int poller, struct tm_event *events, long long timeout_ns) {
    struct epoll_event found[TM_EVENTS_MAX];
#ifdef SYS_epoll_pwait2
    // By number: glibc has the function since 2.35 only, Linux the call since 5.11.
    struct timespec timeout = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    int count = (int)syscall(SYS_epoll_pwait2, poller, found, TM_EVENTS_MAX, &timeout, NULL, 0);
    if (count >= 0 || errno != ENOSYS) return report(events, found, count);
#endif
    return tm_poller_wait(poller, events, (int)((timeout_ns + 999999) / 1000000));
}

int tm_waker(void) {
    return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

int tm_wake(int waker) {
    return eventfd_write(waker, 1);
}

int tm_wake_clear(int waker) {
    eventfd_t count;
    return eventfd_read(waker, &count);
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
