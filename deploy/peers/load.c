/* The peer of deploy/bench-rebalance: how long a plain C loop takes to load the same counters into one table.
 *
 *     load FILE SHARD...
 *
 * Reads all counters of the shards into memory, merges them by key, and then, timed, makes the table `counters` in the
 * new FILE with one prepared INSERT a row in ascending order of the keys: no journal, one transaction, one fsync at the
 * end. Neither reading nor merging is timed. Prints the rows, the seconds from opening FILE to the end of the fsync, and
 * the sum of the values. */

#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct row {
    int64_t value, updated;
    int bytes;
    char key[];
};

/* The rows of one shard, one behind the other. */
struct shard {
    char *rows;
    size_t used, room, next;
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void check(sqlite3 *database, int code, int expected) {
    if (code == expected) return;
    fprintf(stderr, "load: %s\n", database ? sqlite3_errmsg(database) : sqlite3_errstr(code));
    exit(74);
}

static void run(sqlite3 *database, const char *sql) {
    check(database, sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
}

static size_t row_bytes(int key_bytes) { return (sizeof(struct row) + (size_t)key_bytes + 7) & ~(size_t)7; }

static void read_shard(struct shard *shard, const char *path) {
    sqlite3 *database;
    sqlite3_stmt *select;
    check(NULL, sqlite3_open_v2(path, &database, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    check(database, sqlite3_prepare_v2(database, "SELECT key, value, updated_ms FROM counters ORDER BY key", -1, &select, NULL), SQLITE_OK);
    int code;
    while ((code = sqlite3_step(select)) == SQLITE_ROW) {
        const void *key = sqlite3_column_blob(select, 0);
        int bytes = sqlite3_column_bytes(select, 0);
        if (shard->used + row_bytes(bytes) > shard->room) {
            shard->room = shard->room * 2 + (1 << 20);
            shard->rows = realloc(shard->rows, shard->room);
            if (shard->rows == NULL) exit(71);
        }
        struct row *row = (struct row *)(shard->rows + shard->used);
        row->value = sqlite3_column_int64(select, 1);
        row->updated = sqlite3_column_int64(select, 2);
        row->bytes = bytes;
        memcpy(row->key, key, (size_t)bytes);
        shard->used += row_bytes(bytes);
    }
    check(database, code, SQLITE_DONE);
    sqlite3_finalize(select);
    check(database, sqlite3_close(database), SQLITE_OK);
}

static int precedes(const struct row *left, const struct row *right) {
    int order = memcmp(left->key, right->key, (size_t)(left->bytes < right->bytes ? left->bytes : right->bytes));
    return order != 0 ? order < 0 : left->bytes < right->bytes;
}

/* The next row of all shards by key, NULL at the end. */
static const struct row *take(struct shard *shards, int count) {
    struct shard *first = NULL;
    for (struct shard *shard = shards; shard < shards + count; shard++) {
        if (shard->next == shard->used) continue;
        if (first == NULL || precedes((struct row *)(shard->rows + shard->next), (struct row *)(first->rows + first->next)))
            first = shard;
    }
    if (first == NULL) return NULL;
    const struct row *row = (struct row *)(first->rows + first->next);
    first->next += row_bytes(row->bytes);
    return row;
}

static void load(const char *path, const struct row **rows, size_t count) {
    sqlite3 *database;
    sqlite3_stmt *insert;
    check(NULL, sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL), SQLITE_OK);
    run(database, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;"
                  "PRAGMA cache_size = -65536; PRAGMA secure_delete = OFF;"
                  "CREATE TABLE counters(key TEXT PRIMARY KEY, value INTEGER NOT NULL, updated_ms INTEGER NOT NULL)"
                  " STRICT, WITHOUT ROWID;"
                  "BEGIN");
    check(database, sqlite3_prepare_v3(database, "INSERT INTO counters VALUES(?1, ?2, ?3)", -1, SQLITE_PREPARE_PERSISTENT, &insert, NULL), SQLITE_OK);
    for (size_t index = 0; index < count; index++) {
        const struct row *row = rows[index];
        sqlite3_bind_text(insert, 1, row->key, row->bytes, SQLITE_STATIC);
        sqlite3_bind_int64(insert, 2, row->value);
        sqlite3_bind_int64(insert, 3, row->updated);
        check(database, sqlite3_step(insert), SQLITE_DONE);
        sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    run(database, "COMMIT");
    check(database, sqlite3_close(database), SQLITE_OK);
    int file = open(path, O_RDONLY);
    if (file < 0 || fsync(file) != 0 || close(file) != 0) exit(74);
}

int main(int count, char **arguments) {
    if (count < 3) {
        fprintf(stderr, "usage: load FILE SHARD...\n");
        return 64;
    }
    // As our program does.
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    int shard_count = count - 2;
    struct shard *shards = calloc((size_t)shard_count, sizeof *shards);
    for (int index = 0; index < shard_count; index++) read_shard(&shards[index], arguments[2 + index]);
    const struct row **rows = NULL, *row;
    size_t used = 0, room = 0;
    int64_t sum = 0;
    while ((row = take(shards, shard_count)) != NULL) {
        if (used == room) {
            room = room * 2 + (1 << 16);
            rows = realloc(rows, room * sizeof *rows);
            if (rows == NULL) return 71;
        }
        rows[used++] = row;
        sum += row->value;
    }
    double start = now();
    load(arguments[1], rows, used);
    printf("%zu %.3f %" PRId64 "\n", used, now() - start, sum);
    return 0;
}
