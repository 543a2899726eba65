// Calls of Linux that Swift's Glibc module does not import: they are variadic (prctl) or visible only with
// _GNU_SOURCE. Plain integers and pointers only, so that no type of glibc is defined twice for the compiler.
// Every function returns -1 and sets errno when it fails, posix_spawn's one returns the error number.
#ifndef TALLYMILL_CPLATFORM_H
#define TALLYMILL_CPLATFORM_H

/// The kernel sends `signal` to this process when the thread that created it ends.
int tm_set_parent_death_signal(int signal);
/// A descriptor that becomes readable when the process ends; close-on-exec.
int tm_pidfd_open(int pid);
/// A non-blocking, close-on-exec descriptor that reads the signals in the sigset_t at `set`.
int tm_signalfd(const void *set);
/// The number of the next signal that `tm_signalfd` holds, 0 when there is none now.
int tm_signalfd_read(int descriptor);
/// The next connection of a listening socket, non-blocking and close-on-exec.
int tm_accept(int descriptor);
/// Who is at the other end of a unix socket: the process and the user that connected.
int tm_peer(int descriptor, int *process, unsigned *user);
/// A pipe whose ends are close-on-exec from the first moment.
int tm_pipe(int ends[2]);
/// The spawned child closes every descriptor from `first` on; `actions` is a posix_spawn_file_actions_t.
int tm_spawn_close_from(void *actions, int first);
/// What a poller reports about a descriptor, with the name under which it was added.
struct tm_event {
    unsigned long long name;
    unsigned events;
};
/// Bits of `events`, as epoll(7) has them.
enum { TM_READABLE = 0x001, TM_WRITABLE = 0x004, TM_FAILED = 0x008, TM_HUNG_UP = 0x010 };
/// The other side has sent its last byte; reported only if wanted.
enum { TM_PEER_CLOSED = 0x2000 };
/// Wanted beside them: a change is reported once, not as long as it lasts.
#define TM_EDGE_TRIGGERED 0x80000000u
enum { TM_EVENTS_MAX = 512 };
/// An epoll descriptor, close-on-exec; what it watches is level-triggered unless wanted otherwise.
int tm_poller(void);
int tm_poller_add(int poller, int descriptor, unsigned events, unsigned long long name);
int tm_poller_change(int poller, int descriptor, unsigned events, unsigned long long name);
int tm_poller_remove(int poller, int descriptor);
/// Fills `events`, which has room for TM_EVENTS_MAX; returns how many. Waits for ever with a negative timeout.
int tm_poller_wait(int poller, struct tm_event *events, int timeout_ms);
/// The same, with a timeout from 0 in nanoseconds (milliseconds before Linux 5.11).
int tm_poller_wait_ns(int poller, struct tm_event *events, long long timeout_ns);
/// A non-blocking, close-on-exec descriptor that `tm_wake` makes readable and `tm_wake_clear` no longer.
int tm_waker(void);
int tm_wake(int waker);
int tm_wake_clear(int waker);
/// What the system shows as the name of the calling thread; its first 15 bytes count.
int tm_name_thread(const char *name);
/// The commit that this was built from.
const char *tm_commit(void);

#endif
