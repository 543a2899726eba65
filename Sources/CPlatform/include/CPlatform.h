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
/// A pipe whose ends are close-on-exec from the first moment.
int tm_pipe(int ends[2]);
/// The spawned child closes every descriptor from `first` on; `actions` is a posix_spawn_file_actions_t.
int tm_spawn_close_from(void *actions, int first);
/// What the system shows as the name of the calling thread; its first 15 bytes count.
int tm_name_thread(const char *name);
/// The commit that this was built from.
const char *tm_commit(void);

#endif
