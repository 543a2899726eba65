// The system's SQLite, and what of it Swift cannot express: two variadic functions, a macro that casts an integer to a
// function pointer, and a struct that has to begin with one of SQLite's.

#ifndef TALLYMILL_CSQLITE_SHIM_H
#define TALLYMILL_CSQLITE_SHIM_H

#include <sqlite3.h>

// Identifiers in double quotes never become strings, SQL text cannot damage the file on purpose, and the schema of a
// file that somebody else wrote is not trusted to call functions.
static inline int csqlite_harden(sqlite3 *connection) {
    static const struct { int option, value; } settings[] = {
        {SQLITE_DBCONFIG_DQS_DDL, 0},
        {SQLITE_DBCONFIG_DQS_DML, 0},
        {SQLITE_DBCONFIG_DEFENSIVE, 1},
        {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
        {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
    };
    for (unsigned i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        int code = sqlite3_db_config(connection, settings[i].option, settings[i].value, (int *)0);
        if (code != SQLITE_OK) return code;
    }
    return SQLITE_OK;
}

// Before the first connection: SQLite shall not keep count of its memory, which takes a mutex for every allocation, and
// it allocates for every row. Has no effect once the library is in use.
static inline int csqlite_forgo_statistics(void) {
    return sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

// SQLite copies what is bound.
static inline sqlite3_destructor_type csqlite_copying(void) {
    return SQLITE_TRANSIENT;
}

// A virtual table: SQLite sees its base, the rest is ours.
struct csqlite_table {
    sqlite3_vtab base;
    void *rows;
};

#endif
