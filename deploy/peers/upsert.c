/* The peer of deploy/bench-apply: what a plain C loop makes of the same rows.
 *
 *     upsert FILE KEYS BATCHES SEED
 *
 * Adds BATCHES batches of 100,000 random deltas to random keys out of KEYS in the table `counters` of FILE, each batch
 * sorted by key and one transaction of one UPSERT a row. Drawing and sorting are not timed: a loop cannot be plainer.
 * The settings are those of a consumer, so that only the work differs. Prints the rows, the seconds from the first
 * BEGIN to the last COMMIT without the drawing, and the sum of the deltas.
 *
 * Key number n is "page/" and the 16 hexadecimal digits of a mix of n, as in Tests/QueueFiller. */

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH_ROWS = 100000, KEY_BYTES = 21 };

struct row {
    char key[KEY_BYTES + 1];
    int64_t delta;
};

static uint64_t mix(uint64_t word) {
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9u;
    word = (word ^ (word >> 27)) * 0x94D049BB133111EBu;
    return word ^ (word >> 31);
}

static uint64_t draw(uint64_t *state) {
    *state += 0x9E3779B97F4A7C15u;
    return mix(*state);
}

static int by_key(const void *left, const void *right) {
    return memcmp(((const struct row *)left)->key, ((const struct row *)right)->key, KEY_BYTES);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void check(sqlite3 *database, int code, int expected) {
    if (code == expected) return;
    fprintf(stderr, "upsert: %s\n", sqlite3_errmsg(database));
    exit(74);
}

static void run(sqlite3 *database, const char *sql) {
    check(database, sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
}

static void apply(sqlite3 *database, sqlite3_stmt *upsert, const struct row *rows) {
    run(database, "BEGIN IMMEDIATE");
    for (int index = 0; index < BATCH_ROWS; index++) {
        sqlite3_bind_text(upsert, 1, rows[index].key, KEY_BYTES, SQLITE_STATIC);
        sqlite3_bind_int64(upsert, 2, rows[index].delta);
        sqlite3_bind_int64(upsert, 3, (int64_t)time(NULL) * 1000);
        check(database, sqlite3_step(upsert), SQLITE_DONE);
        sqlite3_reset(upsert);
    }
    run(database, "COMMIT");
}

int main(int count, char **arguments) {
    if (count != 5) {
        fprintf(stderr, "usage: upsert FILE KEYS BATCHES SEED\n");
        return 64;
    }
    uint64_t keys = strtoull(arguments[2], NULL, 10), batches = strtoull(arguments[3], NULL, 10);
    uint64_t state = strtoull(arguments[4], NULL, 10);
    struct row *rows = malloc(BATCH_ROWS * sizeof *rows);
    sqlite3 *database;
    sqlite3_stmt *upsert;
    if (rows == NULL || keys == 0) return 64;
    check(NULL, sqlite3_open_v2(arguments[1], &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL), SQLITE_OK);
    run(database, "PRAGMA synchronous = FULL; PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4096;"
                  "PRAGMA journal_size_limit = 67108864; PRAGMA secure_delete = OFF");
    const char *sql = "INSERT INTO counters(key, value, updated_ms) VALUES(?1, ?2, ?3) "
                      "ON CONFLICT(key) DO UPDATE SET value = value + ?2, updated_ms = ?3";
    check(database, sqlite3_prepare_v3(database, sql, -1, SQLITE_PREPARE_PERSISTENT, &upsert, NULL), SQLITE_OK);
    double seconds = 0;
    int64_t sum = 0;
    for (uint64_t batch = 0; batch < batches; batch++) {
        for (int index = 0; index < BATCH_ROWS; index++) {
            snprintf(rows[index].key, sizeof rows[index].key, "page/%016" PRIx64, mix(draw(&state) % keys + 1));
            rows[index].delta = (int64_t)(draw(&state) % 20001) - 10000;
            sum += rows[index].delta;
        }
        qsort(rows, BATCH_ROWS, sizeof *rows, by_key);
        double start = now();
        apply(database, upsert, rows);
        seconds += now() - start;
    }
    printf("%" PRIu64 " %.3f %" PRId64 "\n", batches * BATCH_ROWS, seconds, sum);
    sqlite3_finalize(upsert);
    check(database, sqlite3_close(database), SQLITE_OK);
    free(rows);
    return 0;
}
