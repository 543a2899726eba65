// SQLite, and the few of its calls and constants that Swift cannot import: variadic functions and casts.
#ifndef TALLYMILL_CSQLITE_H
#define TALLYMILL_CSQLITE_H

#include <sqlite3.h>

/// The bound bytes are copied by SQLite.
static inline sqlite3_destructor_type tm_sqlite_transient(void) { return SQLITE_TRANSIENT; }

/// The bound bytes stay where they are until the statement is reset.
static inline sqlite3_destructor_type tm_sqlite_static(void) { return SQLITE_STATIC; }

/// Keeps the write-ahead log and its index when the last connection closes, for readers without write permission.
static inline int tm_sqlite_persist_wal(sqlite3 *database) {
    int on = 1;
    return sqlite3_file_control(database, "main", SQLITE_FCNTL_PERSIST_WAL, &on);
}

/// No SQL may harm the file's own structure; a name in double quotes is no string.
static inline int tm_sqlite_harden(sqlite3 *database) {
    int code = sqlite3_db_config(database, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)0);
    if (code == SQLITE_OK) code = sqlite3_db_config(database, SQLITE_DBCONFIG_DQS_DML, 0, (int *)0);
    if (code == SQLITE_OK) code = sqlite3_db_config(database, SQLITE_DBCONFIG_DQS_DDL, 0, (int *)0);
    return code;
}

#endif
